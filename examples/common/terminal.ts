import { styleText } from "node:util";
import cliProgress from "cli-progress";

const WIDTH = 96;

type Format = "bold" | "dim" | "cyan" | "red" | "yellow";

/** Colours where the stream is a terminal and NO_COLOR is not set; else the text as it is. */
function paint(format: Format, text: string, stream: NodeJS.WriteStream): string {
  const plain = !stream.isTTY || Boolean(process.env["NO_COLOR"]);
  return plain ? text : styleText(format, text);
}

export const bold = (text: string): string => paint("bold", text, process.stdout);
export const dim = (text: string): string => paint("dim", text, process.stdout);
export const cyan = (text: string): string => paint("cyan", text, process.stdout);

/** Wraps prose at the terminal's width; indented lines are code and stay as they are. */
export function wrap(text: string, indent = "  "): string {
  const width = Math.min(process.stdout.columns ?? WIDTH, WIDTH) - indent.length;
  const lines: string[] = [];
  for (const line of text.split("\n")) {
    if (/^\s/.test(line) || line.length <= width) {
      lines.push(line);
      continue;
    }
    let current = "";
    for (const word of line.split(" ")) {
      if (current !== "" && current.length + 1 + word.length > width) {
        lines.push(current);
        current = word;
      } else {
        current = current === "" ? word : `${current} ${word}`;
      }
    }
    lines.push(current);
  }
  return lines.map((line) => (line === "" ? "" : indent + line)).join("\n");
}

export function printError(message: string, hint: string | undefined): void {
  console.error(`${paint("red", "error:", process.stderr)} ${message}`);
  if (hint) console.error(`  ${hint}`);
}

export function printNote(note: string): void {
  console.error(`${paint("yellow", "note:", process.stderr)} ${note}`);
}

export interface Progress {
  update: (done: number, total: number) => void;
  stop: () => void;
}

/** A bar on standard error that appears with the first update; silent where nobody watches. */
export function progressBar(label: string): Progress {
  if (!process.stderr.isTTY) return { update: () => {}, stop: () => {} };
  const format = `${label} [{bar}] {percentage}% | {value}/{total} | {eta_formatted} left`;
  const bar = new cliProgress.SingleBar(
    {
      format,
      hideCursor: true,
      clearOnComplete: true,
      stopOnComplete: true,
      stream: process.stderr,
    },
    cliProgress.Presets.rect,
  );
  let started = false;
  return {
    update(done, total) {
      if (!started) bar.start(total, 0);
      started = true;
      bar.update(done);
    },
    stop() {
      if (bar.isActive) bar.stop();
    },
  };
}
