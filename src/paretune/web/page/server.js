// Speaks with the server: the key, errors in words, and replies as they grow.

const KEY = "paretune-key";

export class ServerError extends Error {
  constructor(message, status = 0, wait = 0) {
    super(message);
    this.status = status;
    this.wait = wait; // seconds after which it makes sense to try again
  }

  // Whether the same request may succeed later.
  get mayPass() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

// Where a browser forbids storage, the key lasts as long as the page.
let kept = null;
const knownKey = () => {
  try { return sessionStorage.getItem(KEY); } catch { return kept; }
};
const keepKey = (key) => {
  kept = key;
  try { sessionStorage.setItem(KEY, key); } catch { /* kept above */ }
  answered();
};

// The key leaves the address bar at once: addresses are copied, and kept in histories.
export const takeKey = () => {
  const parts = location.hash.slice(1).split("&");
  const key = parts.find((part) => part.startsWith("key="));
  if (!key) return false;
  let value = key.slice(4);
  try { value = decodeURIComponent(value); } catch { /* a key with a % of its own */ }
  const rest = parts.filter((part) => !part.startsWith("key=")).join("&");
  history.replaceState(null, "", `${location.pathname}${location.search}${rest ? `#${rest}` : ""}`);
  keepKey(value);
  return true;
};

// The dialog is open at most once, however many requests wait for it; a key that comes in the
// address answers it, too.
let asking = null;
let answered = () => {};

const askForKey = (isWrong) => {
  asking ??= new Promise((resolve) => {
    const [dialog, form, field, why] = ["key-dialog", "key-form", "key", "key-why"].map((id) => document.getElementById(id));
    if (isWrong) why.textContent = "The server does not know this key. It is in the terminal that started the server.";
    const before = document.activeElement;
    const open = () => { dialog.showModal(); field.focus(); };
    // Nothing can be shown without a key: Escape leads back here.
    dialog.addEventListener("close", open);
    const given = (event) => {
      event.preventDefault();
      keepKey(field.value.trim());
    };
    form.addEventListener("submit", given);
    answered = () => {
      answered = () => {};
      field.value = "";
      form.removeEventListener("submit", given);
      dialog.removeEventListener("close", open);
      dialog.close();
      before?.focus();
      asking = null;
      resolve();
    };
    open();
  });
  return asking;
};

const toldBy = async (response) => {
  try {
    const found = await response.json();
    return found.error?.message ?? found.detail ?? "";
  } catch {
    return "";
  }
};

const problem = (status, told, wait) => {
  if (status === 429) return `The server is busy${wait ? `; there may be room in ${wait} s` : ""}.`;
  if (status >= 500) return `The server failed${told ? `: ${told}` : " and did not say why"}.`;
  return told || `The server refused (${status}).`;
};

const send = async (path, { method = "GET", body, signal } = {}) => {
  for (;;) {
    const key = knownKey();
    const headers = body === undefined ? {} : { "Content-Type": "application/json" };
    // A key with signs that no header can carry is a wrong key, not a server that is gone.
    if (key) headers.Authorization = `Bearer ${/^[\x21-\x7e]+$/.test(key) ? key : "?"}`;
    let response;
    try {
      response = await fetch(path, {
        method, headers, signal, cache: "no-store", body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError("The server does not answer. It may have stopped: start it again with paretune serve.");
    }
    if (response.status === 401) {
      await askForKey(Boolean(key));
      continue;
    }
    if (!response.ok) {
      const wait = Number(response.headers.get("Retry-After")) || 0;
      throw new ServerError(problem(response.status, await toldBy(response), wait), response.status, wait);
    }
    return response;
  }
};

export const ask = async (path, how) => {
  const response = await send(path, how);
  return response.status === 204 ? null : response.json();
};

// Data of server-sent events, one after another.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
  }
}

// One reply: `told` hears what answers, then `grown` the text so far; returns why it ended.
export const reply = async (body, signal, told, grown) => {
  const response = await send("v1/chat/completions", { method: "POST", body: { ...body, stream: true }, signal });
  let [text, reason] = ["", null];
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return reason ?? "stop";
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServerError(problem(500, chunk.error.message), 500);
      if (chunk.paretune) told(chunk.paretune);
      const choice = chunk.choices?.[0];
      text += choice?.delta?.content ?? "";
      reason = choice?.finish_reason ?? reason;
      grown(text);
    }
  } catch (error) {
    if (error instanceof ServerError || error.name === "AbortError") throw error;
    throw new ServerError("The connection broke while the reply was on its way.");
  }
  if (reason) return reason;
  throw new ServerError("The server stopped in the middle of the reply.");
};
