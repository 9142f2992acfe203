// The page: what the server says, what the person does, and how the one becomes the other.

import { add, firstMarks, follow, inOrder, markSeen, names, pending, roomOf, rooms, seenUpTo, self, unread } from "/rooms.js";
import { beginLogin, call, Connection, finishLogin, loggedIn, LoggedOut, logout } from "/session.js";
import { $, drawMessages, drawRoom, drawRooms, drawState, face, notice, showWelcome } from "/view.js";

const PAGE = 100;
let current = null;
let connection = null;

const looking = (room) => room === current && !document.hidden;

function draw(room, how) {
  if (looking(room)) markSeen(room);
  drawRooms(current);
  if (room === current) drawMessages(room, how);
}

// What the server says

const heard = {
  async welcome(frame) {
    firstMarks(frame.conversations);
    for (const [key, head] of Object.entries(frame.conversations)) {
      const room = roomOf(key);
      room.head = Math.max(room.head, head);
      if (!frame.resume) room.last = head;
    }
    for (const one of pending.values()) if (!one.failed) transmit(one);
    drawRooms(current);
    if (current) await loadRoom(current);
  },
  async joined(frame) {
    const known = rooms.has(frame.conversation);
    const room = roomOf(frame.conversation);
    const from = room.last;
    if (!known) await refreshTitles();
    if (frame.complete === true) return;
    room.last = room.head = frame.head;
    if (room.loaded && from !== null && from < frame.head) await fetchPages(room, from);
    else drawRooms(current);
  },
  message(frame) {
    const room = roomOf(frame.conversation);
    room.last = room.head = Math.max(room.last ?? 0, frame.seq);
    add(room, frame);
    if (!looking(room) && room === current) room.from ??= frame.seq - 1;
    if (!names.has(frame.sender)) {
      names.set(frame.sender, "Somebody"); // until the list of members says who; asked once
      loadPeople(room).catch(trouble);
    }
    draw(room);
  },
  nack(frame) {
    const one = pending.get(frame.id);
    if (!one) return;
    if (frame.code === 429 || frame.code === 503) {
      setTimeout(() => transmit(one), 1000 * (frame.retry_after ?? 1));
      notice("You are fast. The rest follows in a moment.");
    } else {
      one.failed = frame.reason;
      draw(roomOf(one.key));
    }
  },
  agent(frame) {
    const room = roomOf(frame.conversation);
    follow(room, frame);
    if (frame.event === "error") notice(frame.text);
    if (room === current) drawMessages(room);
  },
  user(frame) {
    showMe({ ...self.me, ...frame.user });
  },
};

function showMe(person) {
  self.me = person;
  names.set(person.id, person.name);
  $("me").textContent = person.name;
  $("email").textContent = person.email;
  $("face").replaceWith(Object.assign(face(person.name, person.id), { id: "face" }));
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

const at = (room) => `/api/conversations/${encodeURIComponent(room.key)}`;

async function refreshTitles() {
  for (const { key, title } of (await json("/api/conversations")).conversations) roomOf(key, title);
  drawRooms(current);
  if (current) drawRoom(current);
}

async function loadRoom(room) {
  if (room.loaded) return;
  room.loaded = true;
  await Promise.all([loadPeople(room), fetchPages(room, Math.max(0, Math.min(room.head - PAGE, room.from ?? room.head)))]);
}

async function loadPeople(room) {
  room.people = (await json(at(room))).members;
  for (const one of room.people) if (one.id) names.set(one.id, one.name);
  if (room === current) drawRoom(room);
  draw(room);
}

async function fetchPages(room, after) {
  for (;;) {
    const { messages } = await json(`${at(room)}/messages?after=${after}&limit=${PAGE}`);
    for (const message of messages) add(room, message);
    draw(room, { toEnd: true });
    if (messages.length < PAGE) return;
    after = messages.at(-1).seq;
  }
}

// What the person does

// The address names the open conversation: links, the back button, new tabs and reloading all work by it.
function followAddress() {
  const room = rooms.get(decodeURIComponent(location.hash.slice(1))) ?? null;
  if (room === current) return;
  current = room;
  $("app").dataset.view = room ? "room" : "list";
  $("room").hidden = room === null;
  $("empty").hidden = room !== null;
  drawRooms(current);
  if (room === null) return;
  room.from = unread(room) ? seenUpTo(room) : null;
  drawRoom(room);
  draw(room, { toEnd: true });
  $("text").focus();
  loadRoom(room).catch(trouble);
}

function open(room) {
  location.hash = room ? encodeURIComponent(room.key) : "";
}

function submit(event) {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || !current) return;
  const one = { id: crypto.randomUUID(), key: current.key, text, ask: $("ask").checked };
  const room = current;
  one.again = () => { one.failed = undefined; transmit(one); draw(room); };
  one.discard = () => { pending.delete(one.id); draw(room); };
  pending.set(one.id, one);
  transmit(one);
  room.from = null;
  $("text").value = "";
  draw(room, { toEnd: true });
  if (!connection.welcomed) drawState("reconnecting");
}

async function make() {
  const title = $("make-name").value.trim();
  const wanted = $("make").returnValue === "make" && title;
  if (!wanted) return;
  const members = [self.me.email, ...$("make-members").value.split(/[\s,;]+/).filter(Boolean)];
  const key = `${title.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 40)}-${crypto.randomUUID().slice(0, 8)}`;
  await json(at({ key }), { method: "PUT", body: JSON.stringify({ title, members }), headers: { "content-type": "application/json" } });
  open(roomOf(key, title));
}

function step(by) {
  const all = inOrder($("find").value);
  if (all.length) open(all[(all.indexOf(current) + by + all.length) % all.length]);
}

const KEYS = {
  "alt ArrowDown": () => step(1),
  "alt ArrowUp": () => step(-1),
  "ctrl k": () => { open(null); $("find").focus(); $("find").select(); },
  Escape: () => open(null),
};

function onKey(event) {
  if ($("app").hidden || $("make").open || event.isComposing) return;
  const key = event.altKey ? `alt ${event.key}` : event.ctrlKey || event.metaKey ? `ctrl ${event.key}` : event.key;
  if (!KEYS[key]) return;
  event.preventDefault();
  KEYS[key]();
}

function trouble(error) {
  if (error instanceof LoggedOut) leave(error.message);
  else notice(error.message);
}

function leave(note) {
  connection?.end("");
  showWelcome(note);
}

function state(name, reason) {
  drawState(name);
  if (name === "offline" && reason) showWelcome(reason);
}

const THEMES = ["system", "light", "dark"];
function theme(name) {
  document.documentElement.dataset.theme = name;
  localStorage.setItem("chat.theme", name);
  $("theme").textContent = { system: "◐", light: "☀", dark: "☾" }[name];
  $("theme").title = $("theme").ariaLabel = `Colours: ${name}`;
}

function listen() {
  $("login").onclick = beginLogin;
  $("logout").onclick = () => logout().finally(() => location.assign("/"));
  $("theme").onclick = () => theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % 3]);
  $("composer").onsubmit = submit;
  $("text").onkeydown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  };
  $("find").oninput = () => drawRooms(current);
  $("find").onkeydown = (event) => {
    if (event.key === "Enter") open(inOrder($("find").value)[0] ?? null);
  };
  $("new").onclick = () => { $("make").querySelector("form").reset(); $("make").returnValue = ""; $("make").showModal(); };
  // No submit button: Enter presses the first of those, and that has to be the one which begins the conversation.
  $("make-cancel").onclick = () => $("make").close();
  $("make").onclose = () => make().catch(trouble);
  $("retry").onclick = () => connection.retryNow();
  addEventListener("keydown", onKey);
  addEventListener("hashchange", followAddress);
  addEventListener("storage", () => (loggedIn() ? drawRooms(current) : leave("You logged out in another tab.")));
  document.addEventListener("visibilitychange", () => current && draw(current));
}

async function start() {
  theme(localStorage.getItem("chat.theme") || "system");
  listen();
  const failed = await finishLogin();
  if (!loggedIn()) return showWelcome(failed);
  showMe(await json("/api/me"));
  await refreshTitles();
  drawState("connecting");
  $("app").dataset.view = "list";
  $("room").hidden = true;
  $("app").hidden = false;
  const seen = () => Object.fromEntries([...rooms.values()].filter((r) => r.last !== null).map((r) => [r.key, r.last]));
  connection = new Connection((frame) => Promise.resolve(heard[frame.type]?.(frame)).catch(trouble), state, seen);
  await connection.open();
  followAddress();
}

start().catch(trouble);
