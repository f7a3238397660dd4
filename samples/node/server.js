const http = require("http");
const ms = require("ms");

const started = Date.now();
const port = process.env.PORT || 8080;

const server = http.createServer((req, res) => {
  res.setHeader("Content-Type", "text/plain; charset=utf-8");
  res.end(`Hello from Node.js ${process.version}, up for ${ms(Date.now() - started, { long: true })}\n`);
});

server.listen(port, () => console.log(`listening on ${port}`));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
