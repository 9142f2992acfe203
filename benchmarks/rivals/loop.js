// node loop.js MODULE PORT request-response|burst SECONDS CONNECTIONS BYTES: a bare loop on the module `ws`.
const WebSocket = require(process.argv[2]);
const [port, mode, seconds, connections, bytes] = process.argv.slice(3).map((word) => (isNaN(word) ? word : +word));
const BURST = 1000;
const blank = JSON.stringify({ type: "send", conversation: "room", seq: 7, id: "bench-10-1000", text: "" });
const text = blank.replace('""', `"${"x".repeat(bytes - blank.length)}"`);
const sockets = [];
let opened = 0, done = 0, next = 0, left = 0, end, before;

function finish() {
  const used = process.cpuUsage(before);
  console.log(JSON.stringify({ messages: done, cpu_s: (used.user + used.system) / 1e6 }));
  process.exit(0);
}

function burst() {
  left = BURST;
  const socket = sockets[next++ % connections];
  for (let n = 0; n < BURST; n++) socket.send(text);
}

function start() {
  before = process.cpuUsage();
  end = Date.now() + seconds * 1000;
  if (mode === "burst") burst();
  else for (const socket of sockets) socket.send(text);
}

function heard(socket, data) {
  if (JSON.parse(data).seq !== 7) throw new Error("another answer");
  done++;
  if (mode === "burst" && --left) return;
  if (Date.now() >= end) finish();
  if (mode === "burst") burst();
  else socket.send(text);
}

for (let n = 0; n < connections; n++) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: false });
  sockets.push(socket);
  socket.on("open", () => ++opened === connections && start());
  socket.on("message", (data) => heard(socket, data));
}
