// Chat on socket.io (npm), as examples/dialects/socketio.toml describes it.
//
//   npm install socket.io@4 @socket.io/redis-adapter redis
//   node socketio_app.cjs --port 3000 [--recovery] [--ping 25000] [--redis redis://127.0.0.1:6379 --processes 2]
//
// With --redis the processes share rooms by the Redis adapter; nobody numbers or stores messages then.
// Packages are looked for in the folder that NODE_PATH names.
const { parseArgs } = require("node:util");
const cluster = require("node:cluster");
const { createServer } = require("node:http");

const { values: given } = parseArgs({
  options: {
    port: { type: "string", default: "3000" },
    ping: { type: "string", default: "25000" },
    processes: { type: "string", default: "1" },
    redis: { type: "string" },
    recovery: { type: "boolean", default: false },
    "silent-join": { type: "boolean", default: false },
  },
});

async function serve() {
  const { Server } = require("socket.io");
  const http = createServer();
  const options = { pingInterval: Number(given.ping), pingTimeout: Number(given.ping) };
  if (given.recovery) options.connectionStateRecovery = { maxDisconnectionDuration: 120000 };
  const io = new Server(http, options);
  if (given.redis) {
    const { createClient } = require("redis");
    const { createAdapter } = require("@socket.io/redis-adapter");
    const [publisher, subscriber] = [createClient({ url: given.redis }), createClient({ url: given.redis })];
    await Promise.all([publisher.connect(), subscriber.connect()]);
    io.adapter(createAdapter(publisher, subscriber));
  }
  const rooms = new Map();
  io.use((socket, next) => next(socket.handshake.auth.name ? undefined : new Error("no name")));
  io.on("connection", (socket) => {
    const name = socket.handshake.auth.name;
    socket.on("join", (room, answer) => {
      socket.join(room);
      if (!given["silent-join"]) answer({ head: given.redis ? null : (rooms.get(room) ?? []).length });
    });
    socket.on("say", (said, answer) => {
      if (!socket.rooms.has(said.room)) return answer({ error: 403 });
      const row = { room: said.room, from: name, id: said.id, text: said.text };
      if (!given.redis) {
        if (!rooms.has(said.room)) rooms.set(said.room, []);
        row.seq = rooms.get(said.room).push(row);
      }
      io.to(said.room).emit("said", row);
      answer({ seq: row.seq });
    });
    socket.on("history", (room, answer) => answer(rooms.get(room) ?? []));
  });
  http.listen(Number(given.port), "127.0.0.1", () => {
    if (cluster.isWorker) process.send("ready");
    else console.log("ready");
  });
}

if (cluster.isPrimary && Number(given.processes) > 1) {
  let missing = Number(given.processes);
  cluster.on("message", () => {
    missing -= 1;
    if (missing === 0) console.log("ready");
  });
  for (let n = 0; n < Number(given.processes); n += 1) cluster.fork();
} else {
  serve();
}
