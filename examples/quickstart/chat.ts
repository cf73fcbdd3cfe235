import type { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { StringOutputParser } from "@langchain/core/output_parsers";
import { ChatPromptTemplate } from "@langchain/core/prompts";
import type { Answer, Answerer } from "./answer.js";
import { QuickstartError } from "./errors.js";
import type { Finding } from "./findings.js";
import { cite } from "./passage.js";

interface Provider {
  /** The npm package that talks to it, and the class that this package exports. */
  package: string;
  className: string;
  /** Used when QUICKSTART_MODEL names no model. */
  defaultModel: string;
}

const PROVIDERS: Readonly<Record<string, Provider>> = {
  openai: { package: "@langchain/openai", className: "ChatOpenAI", defaultModel: "gpt-4o-mini" },
  ollama: { package: "@langchain/ollama", className: "ChatOllama", defaultModel: "llama3.2" },
  anthropic: {
    package: "@langchain/anthropic",
    className: "ChatAnthropic",
    defaultModel: "claude-3-5-haiku-latest",
  },
  mistralai: {
    package: "@langchain/mistralai",
    className: "ChatMistralAI",
    defaultModel: "mistral-small-latest",
  },
};

export interface ChatChoice {
  provider: string;
  model: string;
  /** The variable that decided it, for the output. */
  variable: string;
}

/** Which chat model the environment asks for; undefined when none. */
export function chooseChat(env: NodeJS.ProcessEnv): ChatChoice | undefined {
  const asked = env["QUICKSTART_MODEL"]?.trim();
  if (asked) {
    const colon = asked.indexOf(":");
    const provider = colon < 0 ? asked : asked.slice(0, colon);
    const known = PROVIDERS[provider];
    if (!known) {
      const names = Object.keys(PROVIDERS).join(", ");
      throw new QuickstartError(
        `QUICKSTART_MODEL=${asked}: unknown provider "${provider}"`,
        `Write <provider>:<model> with one of ${names}.`,
      );
    }
    const model = colon < 0 ? known.defaultModel : asked.slice(colon + 1);
    return { provider, model, variable: "QUICKSTART_MODEL" };
  }
  if (env["OPENAI_API_KEY"]) {
    return {
      provider: "openai",
      model: PROVIDERS["openai"]!.defaultModel,
      variable: "OPENAI_API_KEY",
    };
  }
  if (env["OLLAMA_HOST"]) {
    return {
      provider: "ollama",
      model: PROVIDERS["ollama"]!.defaultModel,
      variable: "OLLAMA_HOST",
    };
  }
  return undefined;
}

/** OLLAMA_HOST may be a bare "host:port", which is how Ollama itself reads it. */
export function ollamaUrl(host: string | undefined): string | undefined {
  if (!host) return undefined;
  return /^https?:\/\//.test(host) ? host : `http://${host}`;
}

type ChatClass = new (fields: Record<string, unknown>) => BaseChatModel;

function isMissing(error: unknown, name: string): boolean {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === "ERR_MODULE_NOT_FOUND" && message.includes(name);
}

/** Loads the provider's package, which is not among our dependencies, and makes the model. */
export async function openChat(choice: ChatChoice, env: NodeJS.ProcessEnv): Promise<BaseChatModel> {
  const provider = PROVIDERS[choice.provider]!;
  let loaded: Record<string, unknown>;
  try {
    loaded = (await import(provider.package)) as Record<string, unknown>;
  } catch (error) {
    if (!isMissing(error, provider.package)) throw error;
    throw new QuickstartError(
      `${choice.variable} asks for ${choice.provider}, but ${provider.package} is not installed.`,
      `Run \`npm install --no-save ${provider.package}\`, or answer with quotes: --extract.`,
      { cause: error },
    );
  }
  const Chat = loaded[provider.className] as ChatClass;
  const baseUrl = choice.provider === "ollama" ? ollamaUrl(env["OLLAMA_HOST"]) : undefined;
  return new Chat({
    model: choice.model,
    temperature: 0,
    maxRetries: 1,
    ...(baseUrl && { baseUrl }),
  });
}

const PROMPT = ChatPromptTemplate.fromMessages([
  [
    "system",
    "You answer questions about software libraries. Use only the numbered passages below. After " +
      "each statement cite its passages as [1] or [2][3]. If they do not hold the answer, say so " +
      "and stop. Be brief; show code where the passages do.\n\n{passages}",
  ],
  ["human", "{question}"],
]);

/** Retrieval-augmented generation with any chat model of LangChain. */
export class ChatAnswerer implements Answerer {
  constructor(
    private readonly model: BaseChatModel,
    readonly label: string,
  ) {}

  async answer(question: string, findings: readonly Finding[], k: number): Promise<Answer> {
    const sources = findings.slice(0, k);
    const passages = sources
      .map(({ passage }, i) => `[${i + 1}] ${cite(passage.metadata)}\n${passage.pageContent}`)
      .join("\n\n");
    const chain = PROMPT.pipe(this.model).pipe(new StringOutputParser());
    try {
      const text = await chain.invoke({ question, passages });
      return { text: text.trim(), sources };
    } catch (error) {
      throw new QuickstartError(
        `The chat model failed: ${(error as Error).message}`,
        "Check its key and address, or answer with quotes: --extract.",
        { cause: error },
      );
    }
  }
}
