/** An error whose words are meant for the user: printed without a stack trace, exit code 1. */
export class QuickstartError extends Error {
  override readonly name = "QuickstartError";
  /** What to do about it. */
  readonly hint: string;

  constructor(message: string, hint: string, options?: ErrorOptions) {
    super(message, options);
    this.hint = hint;
  }
}
