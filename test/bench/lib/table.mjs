const line = (cells) => `| ${cells.join(" | ")} |`;
const cell = (value) => (value === undefined || value === null ? "-" : String(value));

/** A Markdown table; a missing cell is "-". */
export function markdown(header, rows) {
  const body = rows.map((row) => line(header.map((_, i) => cell(row[i]))));
  return [line(header), line(header.map(() => "---")), ...body, ""].join("\n");
}
