/** Whether a mirror may answer a search itself. */
import { hiveError } from "hive-gpu";

/** What decides it. */
export interface FreshnessSettings {
  maxStalenessMs: number;
  onWarning?: ((message: string) => void) | undefined;
}

/** How fresh a mirror is, and who answered its searches. */
export interface MirrorStatus {
  /** Whether searches are answered here. */
  fresh: boolean;
  /** Why not. */
  reason: string | undefined;
  syncedAt: Date | undefined;
  /** When the server last said that the copy is up to date. */
  checkedAt: Date | undefined;
  answeredHere: number;
  answeredByServer: number;
}

/** Decides where a search goes; asked on every search, so it only compares numbers. */
export class Freshness {
  #isSynced: boolean;
  #isStale = false;
  #hasWritten = false;
  #isClosed = false;
  #syncedAt: number | undefined;
  #checkedAt: number | undefined;
  #wasFresh = true;
  #here = 0;
  #there = 0;

  constructor(
    readonly settings: FreshnessSettings,
    isSynced: boolean,
  ) {
    this.#isSynced = isSynced;
  }

  isFresh(): boolean {
    if (this.#isClosed) throw hiveError("CLOSED", "The mirror is closed.");
    const reason = this.#reason();
    if (reason === undefined) {
      this.#here++;
      this.#wasFresh = true;
      return true;
    }
    this.#there++;
    if (this.#wasFresh) this.#warn(`searches of the mirror go to the server: ${reason}`);
    this.#wasFresh = false;
    return false;
  }

  synced(isConsistent: boolean): void {
    this.#isSynced = true;
    // A server that never stands still is followed as closely as one can.
    this.#isStale = false;
    this.#hasWritten = !isConsistent;
    this.#syncedAt = Date.now();
    this.#checkedAt = this.#syncedAt;
  }

  /** @returns whether the copy is known to be up to date */
  checked(isUnchanged: boolean): boolean {
    // After a write of ours the server looks changed; whether others wrote, only a sync can tell.
    if (!isUnchanged && !this.#hasWritten) this.#isStale = true;
    else this.#checkedAt = Date.now();
    return isUnchanged;
  }

  wrote(): void {
    this.#hasWritten = true;
  }

  failed(error: unknown): void {
    this.#warn(
      `the server could not be asked: ${error instanceof Error ? error.message : String(error)}`,
    );
  }

  close(): void {
    this.#isClosed = true;
  }

  status(): MirrorStatus {
    const reason = this.#reason();
    return {
      fresh: reason === undefined,
      reason,
      syncedAt: dateOf(this.#syncedAt),
      checkedAt: dateOf(this.#checkedAt),
      answeredHere: this.#here,
      answeredByServer: this.#there,
    };
  }

  #reason(): string | undefined {
    if (!this.#isSynced) return "it was not synced yet";
    if (this.#isStale) return "the server has changed since the last sync";
    const { maxStalenessMs } = this.settings;
    if (maxStalenessMs === Infinity) return undefined;
    const age = Date.now() - (this.#checkedAt ?? 0);
    return age > maxStalenessMs ? `the last check was ${age} ms ago` : undefined;
  }

  #warn(message: string): void {
    if (this.settings.onWarning === undefined) {
      process.emitWarning(`hive-gpu: ${message}`, {
        type: "HiveGpuWarning",
        code: "HIVE_GPU_MIRROR",
      });
    } else {
      this.settings.onWarning(message);
    }
  }
}

function dateOf(time: number | undefined): Date | undefined {
  return time === undefined ? undefined : new Date(time);
}
