// The small app of tests/real/apps for Node: answers with the version that its file said at the start. Drains on SIGINT as pm2's
// manual shows: stop accepting, finish what is under way, exit.
const fs = require("fs");
const http = require("http");

const version = JSON.parse(fs.readFileSync(process.env.APP_FILE)).version;
const server = http.createServer((request, response) => {
  response.setHeader("Content-Length", Buffer.byteLength(version));
  response.end(version);
});
server.listen(Number(process.env.PORT), "127.0.0.1", () => process.send("ready"));
process.on("SIGINT", () => server.close(() => process.exit(0)));
