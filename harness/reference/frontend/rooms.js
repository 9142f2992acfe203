// What this tab knows: conversations, their messages, what has been read, what waits to be sent. Draws nothing.

const SEEN = "chat.seen"; // conversation → last number that was looked at, in any tab of this browser
const KEPT = 300;

export const rooms = new Map(); // key → room
export const pending = new Map(); // client id → {id, key, text, ask, failed}
export const names = new Map([["agent", "Agent"]]); // sender → name
export const self = { me: null };

export function roomOf(key, title) {
  let room = rooms.get(key);
  if (!room) {
    room = { key, title: title ?? key, head: 0, last: null, messages: new Map(), runs: new Map(), loaded: false, people: null, from: null };
    rooms.set(key, room);
  }
  if (title) room.title = title;
  return room;
}

// The latest first; what has not been touched yet, newest made first.
export function inOrder(wanted = "") {
  const all = [...rooms.values()].reverse().filter((room) => room.title.toLowerCase().includes(wanted.toLowerCase()));
  return all.sort((a, b) => (latest(b)?.at ?? "").localeCompare(latest(a)?.at ?? ""));
}

export const latest = (room) => room.messages.get(Math.max(0, ...room.messages.keys()));

// Read marks: in local storage, so that all tabs and the next visit agree

const marks = () => JSON.parse(localStorage.getItem(SEEN) ?? "null");

// Where this browser has never been, everything old counts as read.
export function firstMarks(heads) {
  if (marks() === null) localStorage.setItem(SEEN, JSON.stringify(heads));
}

export const seenUpTo = (room) => marks()?.[room.key] ?? 0;
export const unread = (room) => Math.max(0, room.head - seenUpTo(room));

export function markSeen(room, seq = room.head) {
  if (seq > seenUpTo(room)) localStorage.setItem(SEEN, JSON.stringify({ ...marks(), [room.key]: seq }));
}

// Messages

export function add(room, message) {
  room.messages.set(message.seq, message);
  if (message.sender === "agent") {
    const run = `${room.key}#${message.id.replace("answer-", "")}`;
    message.pieces = room.runs.get(run)?.pieces;
    room.runs.delete(run);
  }
  if (message.sender === self.me.id) {
    pending.delete(message.id);
    // Who answers has read what was there.
    if (seenUpTo(room) === message.seq - 1) markSeen(room, message.seq);
  }
  if (room.messages.size > 2 * KEPT) {
    const old = [...room.messages.keys()].sort((a, b) => a - b).slice(0, KEPT);
    for (const seq of old) room.messages.delete(seq);
  }
}

export const shown = (room) => [...room.messages.values()].sort((a, b) => a.seq - b.seq).slice(-KEPT);
export const waiting = (room) => [...pending.values()].filter((one) => one.key === room.key);

// One event of the agent's run, as it happens.
export function follow(room, frame) {
  const run = room.runs.get(frame.run) ?? { id: frame.run, text: "", pieces: 0, doing: "" };
  room.runs.set(frame.run, run);
  if (frame.event === "chunk") {
    run.text += frame.text;
    run.pieces++;
  }
  run.doing = {
    started: "is there", thinking: "is thinking", chunk: "is writing", tool_started: `uses ${frame.text}`, tool_completed: "is thinking",
  }[frame.event];
  if (frame.event === "completed" || frame.event === "error") room.runs.delete(frame.run);
}
