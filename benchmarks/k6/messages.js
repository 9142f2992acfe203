// 128-byte JSON messages to the echo server, the same work as benchmarks/client.py.
// Environment: URL, MODE (request-response | burst | connect), SECONDS, CONNECTIONS, VUS, OUT.
import exec from "k6/execution";
import { WebSocket } from "k6/experimental/websockets";

const FRAME_BYTES = 128;
const BURST = 1000;
const MODE = __ENV.MODE;
const LAST_MS = Number(__ENV.SECONDS) * 1000;
const VUS = Number(__ENV.VUS);
const PER_VU = Number(__ENV.CONNECTIONS) / VUS;

export const options = {
  scenarios: { messages: { executor: "per-vu-iterations", vus: VUS, iterations: 1, maxDuration: "120s" } },
};

function frame(id) {
  const head = `{"type":"send","conversation":"room","seq":7,"id":"bench-${id}","text":"`;
  return head + "x".repeat(FRAME_BYTES - head.length - 2) + '"}';
}

function converse(number) {
  const socket = new WebSocket(__ENV.URL);
  let sent = 0;
  let heard = 0;
  let end = 0;
  const say = () => {
    sent += 1;
    socket.send(frame(sent));
  };
  const burst = () => {
    for (let n = 0; n < BURST; n += 1) say();
  };
  socket.onopen = () => {
    end = Date.now() + LAST_MS;
    if (MODE === "request-response") say();
    else if (MODE === "burst" && number === 1) burst();
    else setTimeout(() => socket.close(), LAST_MS); // connected and idle
  };
  socket.onmessage = (event) => {
    heard += 1;
    if (JSON.parse(event.data).id !== `bench-${heard}`) exec.test.abort(`heard ${event.data} as number ${heard}`);
    if (heard < sent) return;
    if (Date.now() >= end) socket.close();
    else if (MODE === "burst") burst();
    else say();
  };
  socket.onerror = (event) => exec.test.abort(event.error);
}

export default function () {
  for (let n = 0; n < PER_VU; n += 1) converse((exec.vu.idInTest - 1) * PER_VU + n + 1);
}

export function handleSummary(data) {
  const count = (name) => (data.metrics[name] ? data.metrics[name].values.count : 0);
  const found = { sent: count("ws_msgs_sent"), heard: count("ws_msgs_received"), sessions: count("ws_sessions") };
  return { [__ENV.OUT]: JSON.stringify(found) };
}
