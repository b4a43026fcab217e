// The server, as the page asks it: models, streamed answers, tasks. The protocol is OpenAI's.
// Answers come as server-sent events over POST, so they are read from the body by hand.

import { memory } from "./elements.js";

let key = memory.read("key", "", "sessionStorage");

export const hasKey = () => key !== "";

export function useKey(given) {
  key = given;
  memory.write("key", given, "sessionStorage");
}

/** Something that went wrong. `kind` is a wording (`fault ...`), `detail` what the server said. */
export class Fault extends Error {
  constructor(kind, detail = "", values = {}) {
    super(detail || kind);
    this.kind = kind;
    this.detail = detail;
    this.values = values;
  }
}

/** Ask, and give the response when the server was willing. */
async function ask(path, body, signal) {
  const headers = { Accept: "application/json, text/event-stream" };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
    });
  } catch (fault) {
    throw fault.name === "AbortError" ? fault : new Fault("unreachable");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

/** What a status and the body behind it mean. */
async function refusal(response) {
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    // a proxy may answer in its own way
  }
  const detail = typeof said === "string" ? said : said.message ?? "";
  if (response.status === 401) return new Fault(key ? "key" : "no key", key ? detail : "");
  if (response.status === 429 || (response.status === 503 && response.headers.get("Retry-After"))) {
    const seconds = Number(response.headers.get("Retry-After"));
    return seconds > 0 ? new Fault("busy for", "", { seconds }) : new Fault("busy");
  }
  if (said.code === "context_length_exceeded") return new Fault("long", detail);
  return new Fault(response.status < 500 ? "refused" : "server", detail || `HTTP ${response.status}`);
}

async function whole(response) {
  try {
    return await response.json();
  } catch {
    throw new Fault("strange");
  }
}

/** The models of the server, as it tells of them. */
export async function listModels() {
  const found = await whole(await ask("v1/models"));
  if (!Array.isArray(found?.data)) throw new Fault("strange");
  return found.data;
}

/** Ask a task model; gives the whole body. */
export async function askTask(task, body, signal) {
  return whole(await ask(task, body, signal));
}

/**
 * Stream an answer.
 *
 * @param {"chat" | "completion"} kind of the request
 * @param {object} body of the request, without `stream`
 * @returns pieces: {text, tokens, reason, usage}; tokens are {text, bytes, logprob, likeliest: [{text, logprob}]}
 */
export async function* streamAnswer(kind, body, signal) {
  const path = kind === "chat" ? "v1/chat/completions" : "v1/completions";
  const response = await ask(path, { ...body, stream: true, stream_options: { include_usage: true } }, signal);
  if ((response.headers.get("Content-Type") ?? "").includes("application/json")) {
    yield piece(await whole(response));
    return;
  }
  let ended = false;
  for await (const data of events(response)) {
    if (data === "[DONE]") return;
    let said;
    try {
      said = JSON.parse(data);
    } catch {
      throw new Fault("strange");
    }
    if (said.error) throw new Fault("server", said.error.message ?? "");
    const one = piece(said);
    ended ||= one.reason !== null;
    yield one;
  }
  if (!ended) throw new Fault("torn");
}

/** The data of server-sent events. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      const lines = (held + (value ?? "")).split("\n");
      held = done ? "" : lines.pop();
      for (const raw of lines) {
        const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
        if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        } else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
      if (done) break;
    }
  } catch (fault) {
    throw fault.name === "AbortError" || fault instanceof Fault ? fault : new Fault("torn");
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** One chunk (or one whole answer) of either protocol in one form. */
function piece(said) {
  const choice = said.choices?.[0];
  const text = choice?.delta?.content ?? choice?.message?.content ?? choice?.text ?? "";
  return { text, tokens: tokensOf(choice?.logprobs), reason: choice?.finish_reason ?? null, usage: said.usage ?? null };
}

function tokensOf(logprobs) {
  if (Array.isArray(logprobs?.content)) {
    return logprobs.content.map((one) => ({
      text: one.token,
      bytes: one.bytes,
      logprob: one.logprob,
      likeliest: (one.top_logprobs ?? []).map((other) => ({ text: other.token, bytes: other.bytes, logprob: other.logprob })),
    }));
  }
  if (!Array.isArray(logprobs?.tokens)) return [];
  return logprobs.tokens.map((text, place) => ({
    text,
    bytes: null,
    logprob: logprobs.token_logprobs?.[place] ?? null,
    likeliest: Object.entries(logprobs.top_logprobs?.[place] ?? {})
      .map(([other, logprob]) => ({ text: other, bytes: null, logprob }))
      .sort((one, two) => two.logprob - one.logprob),
  }));
}
