/** What the stand-in server is filled with. */
export const passages: readonly { title: string; text: string }[] = [
  {
    title: "store",
    text: "A commit is synced to disk before it is answered, so a record is still there when the power fails.",
  },
  {
    title: "snapshot",
    text: "A search pins a snapshot and sees one state of the collection, whatever is written meanwhile.",
  },
  {
    title: "filter",
    text: "A filter becomes a bitset before the scan, so exactly the nearest passing records are found.",
  },
  {
    title: "mirror",
    text: "A mirror keeps a server's collection on the device; writes go to the server, searches do not.",
  },
  {
    title: "score",
    text: "Scores are similarities: higher is closer, for every metric, and none is left out.",
  },
  {
    title: "backend",
    text: "A backend is one folder of host code and its kernels; the planner chooses the device.",
  },
  {
    title: "import",
    text: "Archives are read as streams, and hostile ones are refused before anything is stored.",
  },
];
