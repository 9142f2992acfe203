// The page: conversations on the left, one of them on the right. Text is only ever set as text.

import { beginLogin, call, Connection, finishLogin, loggedIn, LoggedOut, logout } from "/session.js";

const $ = (id) => document.getElementById(id);
const SHOWN = 300;
const PAGE = 100;

const rooms = new Map(); // key → {key, title, head, last, unread, messages: Map(seq → message), runs: Map, loaded}
const pending = new Map(); // client id → {id, key, text, ask, failed}
let me = null;
let current = null;
let connection = null;

function roomOf(key, title = key) {
  if (!rooms.has(key)) {
    rooms.set(key, { key, title, head: 0, last: null, unread: 0, messages: new Map(), runs: new Map(), loaded: false });
    drawRooms();
  }
  return rooms.get(key);
}

// What the server says

const heard = {
  welcome(frame) {
    for (const [key, head] of Object.entries(frame.conversations)) {
      const room = roomOf(key);
      room.head = head;
      if (!frame.resume) room.last = head;
    }
    for (const one of pending.values()) if (!one.failed) transmit(one);
    if (current) loadHistory(current);
  },
  async joined(frame) {
    const room = roomOf(frame.conversation);
    const from = room.last;
    if (frame.complete === true) return;
    room.last = room.head = frame.head;
    if (room.loaded && from !== null && from < frame.head) await fetchPages(room, from);
    else await refreshTitles();
  },
  message(frame) {
    const room = roomOf(frame.conversation);
    add(room, frame);
    room.last = room.head = Math.max(room.last ?? 0, frame.seq);
    if (frame.sender === me.id) pending.delete(frame.id);
    if (room !== current || document.hidden) room.unread++;
    drawRooms();
    if (room === current) drawMessages();
  },
  ack(frame) {
    if (pending.has(frame.id)) pending.get(frame.id).acked = true;
  },
  nack(frame) {
    const one = pending.get(frame.id);
    if (!one) return;
    if (frame.code === 429 || frame.code === 503) {
      setTimeout(() => transmit(one), 1000 * (frame.retry_after ?? 1));
      notice("You are fast. The rest follows in a moment.");
    } else {
      one.failed = frame.reason;
      drawMessages();
    }
  },
  agent(frame) {
    const room = roomOf(frame.conversation);
    const run = room.runs.get(frame.run) ?? { text: "", state: "" };
    room.runs.set(frame.run, run);
    run.state = frame.event.replace("_", " ");
    if (frame.event === "chunk") run.text += frame.text;
    if (frame.event === "completed" || frame.event === "error") room.runs.delete(frame.run);
    if (frame.event === "error") notice(frame.text);
    if (room === current) drawMessages();
  },
  user(frame) {
    me = { ...me, ...frame.user };
    $("me").textContent = me.name;
  },
};

function add(room, message) {
  room.messages.set(message.seq, message);
}

function transmit(one) {
  connection.send({ type: "send", conversation: one.key, id: one.id, text: one.text, ...(one.ask && { ask: true }) });
}

// What we read

async function json(path, options) {
  const answer = await call(path, options);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.message ?? `${path}: ${answer.status}`);
  return said;
}

async function refreshTitles() {
  for (const { key, title } of (await json("/api/conversations")).conversations) roomOf(key).title = title;
  drawRooms();
}

async function loadHistory(room) {
  if (room.loaded) return;
  room.loaded = true;
  await fetchPages(room, Math.max(0, room.head - PAGE));
}

async function fetchPages(room, after) {
  for (;;) {
    const path = `/api/conversations/${encodeURIComponent(room.key)}/messages?after=${after}&limit=${PAGE}`;
    const { messages } = await json(path);
    for (const message of messages) add(room, message);
    if (room === current) drawMessages();
    if (messages.length < PAGE) return;
    after = messages.at(-1).seq;
  }
}

// What we show

function drawRooms() {
  const items = [...rooms.values()].map((room) => {
    const button = element("button", room.title);
    button.dataset.key = room.key;
    button.setAttribute("aria-current", String(room === current));
    button.onclick = () => open(room);
    if (room.unread) button.append(element("span", String(room.unread), "unread"));
    const item = element("li");
    item.append(button);
    return item;
  });
  $("conversations").replaceChildren(...items);
  const unread = [...rooms.values()].reduce((sum, room) => sum + room.unread, 0);
  document.title = unread ? `(${unread}) Chat` : "Chat";
}

function drawMessages() {
  const list = $("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const seqs = [...current.messages.keys()].sort((a, b) => a - b);
  for (const seq of seqs.splice(0, Math.max(0, seqs.length - SHOWN))) current.messages.delete(seq);
  const stored = seqs.map((seq) => bubble(current.messages.get(seq)));
  const runs = [...current.runs.values()].map((run) => line(run.text || "…", `agent · ${run.state}`, "agent"));
  const waiting = [...pending.values()]
    .filter((one) => one.key === current.key)
    .map((one) => line(one.text, one.failed ?? "sending …", one.failed ? "own failed" : "own pending"));
  list.replaceChildren(...stored, ...runs, ...waiting);
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function bubble(message) {
  const kind = message.sender === me.id ? "own" : message.sender === "agent" ? "agent" : "";
  const who = { own: "you", agent: "agent" }[kind] ?? message.sender.slice(0, 8);
  const item = line(message.text, `${who} · ${new Date(message.at).toLocaleTimeString()} · #${message.seq}`, kind);
  item.dataset.seq = message.seq;
  return item;
}

function line(text, small, kind) {
  const item = element("li", text, kind);
  item.append(element("small", small));
  return item;
}

function element(tag, text = "", kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = kind;
  return made;
}

let noticeTimer;
function notice(text) {
  $("notice").textContent = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => ($("notice").textContent = ""), 5000);
}

// What the person does

function open(room) {
  current = room;
  room.unread = 0;
  location.hash = encodeURIComponent(room.key);
  $("title").textContent = room.title;
  $("text").disabled = $("send").disabled = false;
  drawRooms();
  drawMessages();
  $("messages").scrollTop = $("messages").scrollHeight;
  $("text").focus();
  loadHistory(room).catch(trouble);
}

function submit(event) {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || !current) return;
  const one = { id: crypto.randomUUID(), key: current.key, text, ask: $("ask").checked };
  pending.set(one.id, one);
  transmit(one);
  $("text").value = "";
  drawMessages();
  $("messages").scrollTop = $("messages").scrollHeight;
}

async function make() {
  if ($("make").returnValue !== "make") return;
  const title = $("make-name").value.trim();
  const members = [me.email, ...$("make-members").value.split(/[\s,;]+/).filter(Boolean)];
  const key = `${title.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 40)}-${crypto.randomUUID().slice(0, 8)}`;
  const options = { method: "PUT", body: JSON.stringify({ title, members }), headers: { "content-type": "application/json" } };
  await json(`/api/conversations/${encodeURIComponent(key)}`, options);
  const room = roomOf(key, title);
  room.loaded = true;
  open(room);
}

function step(by) {
  const all = [...rooms.values()];
  if (all.length) open(all[(all.indexOf(current) + by + all.length) % all.length]);
}

function trouble(error) {
  if (error instanceof LoggedOut) showWelcome(error.message);
  else notice(error.message);
}

function showWelcome(note = "") {
  connection?.end("");
  $("app").hidden = true;
  $("welcome").hidden = false;
  $("welcome-note").textContent = note;
}

function state(name, reason) {
  $("status").dataset.state = name;
  $("status").textContent = name;
  if (name === "offline" && reason) showWelcome(reason);
}

const THEMES = ["", "light", "dark"];
function theme(name) {
  document.documentElement.dataset.theme = name;
  localStorage.setItem("chat.theme", name);
  $("theme").textContent = `Theme: ${name || "system"}`;
}

function listen() {
  $("login").onclick = beginLogin;
  $("logout").onclick = () => logout().finally(() => location.reload());
  $("theme").onclick = () => theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "") + 1) % 3]);
  $("composer").onsubmit = submit;
  $("text").onkeydown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  };
  $("new").onclick = () => $("make").showModal();
  $("make").onclose = () => make().catch(trouble);
  addEventListener("keydown", (event) => {
    if (event.altKey && event.key === "ArrowDown") step(1);
    else if (event.altKey && event.key === "ArrowUp") step(-1);
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && current) {
      current.unread = 0;
      drawRooms();
    }
  });
  addEventListener("storage", () => loggedIn() || showWelcome("You logged out in another tab."));
}

async function start() {
  theme(localStorage.getItem("chat.theme") ?? "");
  listen();
  const failed = await finishLogin();
  if (!loggedIn()) return showWelcome(failed);
  me = await json("/api/me");
  $("me").textContent = me.name;
  $("app").hidden = false;
  await refreshTitles();
  const seen = () => Object.fromEntries([...rooms.values()].filter((r) => r.last !== null).map((r) => [r.key, r.last]));
  connection = new Connection((frame) => Promise.resolve(heard[frame.type]?.(frame)).catch(trouble), state, seen);
  await connection.open();
  const wanted = rooms.get(decodeURIComponent(location.hash.slice(1)));
  if (wanted) open(wanted);
}

start().catch(trouble);
