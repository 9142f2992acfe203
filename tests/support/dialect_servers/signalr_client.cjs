// Real client of SignalR (npm @microsoft/signalr) against our small server: does the server speak the protocol?
//
//   node signalr_client.cjs ws://127.0.0.1:5000/chat
//
// Two people join a room and one speaks; prints what was heard and answered as JSON. NODE_PATH names the packages.
const signalR = require("@microsoft/signalr");

async function person(url, name) {
  const connection = new signalR.HubConnectionBuilder()
    .withUrl(url.replace("ws", "http"), {
      skipNegotiation: true,
      transport: signalR.HttpTransportType.WebSockets,
      accessTokenFactory: () => name,
    })
    .configureLogging(signalR.LogLevel.Error)
    .build();
  const heard = [];
  connection.on("Said", (row) => {
    heard.push(row);
  });
  await connection.start();
  await connection.invoke("Join", "room");
  return { connection, heard };
}

(async () => {
  const [ann, bob] = [await person(process.argv[2], "ann"), await person(process.argv[2], "bob")];
  const answer = await ann.connection.invoke("Send", "room", "m1", "héllo \"there\" 🧵");
  const refused = await ann.connection.invoke("Send", "elsewhere", "m2", "x").catch((error) => error.message);
  const history = await bob.connection.invoke("History", "room");
  await ann.connection.stop();
  await bob.connection.stop();
  console.log(JSON.stringify({ answer, refused, history, heard: bob.heard }));
})();
