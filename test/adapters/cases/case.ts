/** What the table of cases is made of, and what several of its parts need. */
import { expect } from "vitest";
import type { Adapter, Found, Scored, Store } from "../harness.js";

/** One behaviour. Each runs on a new, empty store. */
export interface Case {
  name: string;
  run<D>(store: Store<D>, adapter: Adapter<D>): Promise<void>;
}

export const texts = (found: readonly { text: string }[]) => found.map((one) => one.text);
export const ids = (found: readonly Found[]) => found.map((one) => one.id);
export const byId = (a: Found, b: Found) => (a.id! < b.id! ? -1 : 1);
export const plain = ({ id, text, metadata }: Scored): Found => ({ id, text, metadata });

/** A call that must fail with a typed error that says what to do. */
export async function refused(call: Promise<unknown>, code: string): Promise<void> {
  await expect(call).rejects.toMatchObject({ code, hint: expect.stringMatching(/\w/) });
}
