// Who we are and how we are connected: tokens shared by all tabs, one socket per tab that resumes.

const TOKENS = "chat.tokens";
const VERIFIER = "chat.verifier";
const EARLY_S = 30;
const PULSE_MS = 10_000;

export const config = await (await fetch("/config.json")).json();

const read = () => JSON.parse(localStorage.getItem(TOKENS) ?? "null");

function keep(said) {
  const tokens = { access: said.access_token, refresh: said.refresh_token, until: Date.now() / 1000 + said.expires_in };
  localStorage.setItem(TOKENS, JSON.stringify(tokens));
  return tokens;
}

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

export async function beginLogin() {
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  sessionStorage.setItem(VERIFIER, verifier);
  const challenge = base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
  const query = new URLSearchParams({ return_to: location.origin + "/", challenge });
  location.assign(`${config.auth_url}/auth/google?${query}`);
}

// After the redirect: the one-time code becomes tokens, and leaves the address. Returns a sentence if it failed.
export async function finishLogin() {
  const query = new URLSearchParams(location.search);
  const code = query.get("code");
  const error = query.get("error");
  if (!code && !error) return "";
  history.replaceState(null, "", "/" + location.hash);
  if (error) return "The login was not finished.";
  const verifier = sessionStorage.getItem(VERIFIER) ?? "";
  sessionStorage.removeItem(VERIFIER);
  const answer = await post("/auth/exchange", { code, verifier });
  if (!answer.ok) return "The login has expired, please try again.";
  keep(await answer.json());
  return "";
}

export const loggedIn = () => read() !== null;

export async function logout() {
  const token = read()?.access;
  localStorage.removeItem(TOKENS);
  if (token) await post("/auth/logout", {}, { authorization: `Bearer ${token}` });
}

const post = (path, body, headers = {}) =>
  fetch(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers } });

// One tab refreshes, the others take what it got: a refresh token that is used twice ends the session.
async function freshTokens(rejected = null) {
  return navigator.locks.request("chat.refresh", async () => {
    const tokens = read();
    if (tokens === null) return null;
    if (tokens.access !== rejected && tokens.until - EARLY_S > Date.now() / 1000) return tokens;
    const answer = await post("/auth/refresh", { refresh_token: tokens.refresh });
    if (answer.ok) return keep(await answer.json());
    if (answer.status < 500 && answer.status !== 429) localStorage.removeItem(TOKENS);
    return answer.status < 500 ? null : tokens;
  });
}

export class LoggedOut extends Error {}

// A request with our token; refreshed once if it is refused.
export async function call(path, options = {}) {
  let rejected = null;
  for (let attempt = 0; attempt < 2; attempt++) {
    const tokens = await freshTokens(rejected);
    if (tokens === null) throw new LoggedOut("You are logged out.");
    const headers = { ...options.headers, authorization: `Bearer ${tokens.access}` };
    const answer = await fetch(path, { ...options, headers });
    if (answer.status !== 401) return answer;
    rejected = tokens.access;
  }
  throw new LoggedOut("Please log in again.");
}

// One socket that comes back by itself. `seen()` gives the last number of each conversation; `on` hears frames.
export class Connection {
  constructor(on, onState, seen) {
    Object.assign(this, { on, onState, seen, socket: null, failures: 0, stopped: false, welcomed: false, before: false });
    addEventListener("online", () => this.retryNow());
    addEventListener("offline", () => this.welcomed && this.lost());
    setInterval(() => this.pulse(), PULSE_MS);
  }

  async open() {
    clearTimeout(this.timer);
    this.timer = null;
    try {
      const answer = await call("/auth/ticket", { method: "POST" });
      if (!answer.ok) throw new Error(`ticket: ${answer.status}`);
      const query = new URLSearchParams({ ticket: (await answer.json()).ticket });
      if (this.before) query.set("resume", "1");
      if (this.stopped) return;
      this.attach(new WebSocket(`${config.ws_url}?${query}`));
    } catch (error) {
      if (error instanceof LoggedOut) this.end(error.message);
      else this.later();
    }
  }

  attach(socket) {
    this.socket = socket;
    this.unanswered = false;
    socket.onmessage = (event) => {
      this.unanswered = false;
      const frame = JSON.parse(event.data);
      if (frame.type === "welcome") this.greet(frame);
      this.on(frame);
    };
    socket.onclose = (event) => {
      if (event.code === 4403) this.end("This account was deactivated.");
      else this.lost(event.code === 4429 ? 10_000 : 0);
    };
  }

  lost(least = 0) {
    if (this.socket) this.socket.onclose = this.socket.onmessage = null;
    this.socket?.close();
    this.socket = null;
    this.welcomed = false;
    if (!this.stopped) this.later(least);
  }

  // A link can die without a word: who is not answered takes the connection for lost.
  pulse() {
    if (!this.welcomed) return;
    if (this.unanswered) return this.lost();
    this.send({ type: "ping", id: String(Date.now()) });
    this.unanswered = true;
  }

  greet(frame) {
    if (frame.resume) this.socket.send(JSON.stringify({ type: "resume", from: this.seen() }));
    this.welcomed = this.before = true;
    this.failures = 0;
    this.onState("online");
  }

  send(frame) {
    if (this.welcomed) this.socket.send(JSON.stringify(frame));
    return this.welcomed;
  }

  // Longer and longer, and never all tabs at the same moment.
  later(least = 0) {
    this.onState("reconnecting");
    const wait = Math.max(least, Math.min(10_000, 100 * 2 ** this.failures++) * (0.5 + Math.random()));
    this.timer = setTimeout(() => this.open(), wait);
  }

  retryNow() {
    if (this.timer) this.open();
  }

  end(reason) {
    this.stopped = true;
    clearTimeout(this.timer);
    this.socket?.close();
    this.onState("offline", reason);
  }
}
