// Node-RED as it is installed, without its editor, with Node's crypto for the signatures.
module.exports = {
  uiPort: Number(process.env.BENCH_PORT),
  uiHost: "127.0.0.1",
  userDir: process.env.BENCH_DATA,
  flowFile: process.env.BENCH_FLOWS,
  httpAdminRoot: false,
  credentialSecret: false,
  diagnostics: { enabled: false },
  telemetry: { enabled: false },
  functionGlobalContext: { crypto: require("crypto"), receiver: process.env.BENCH_RECEIVER },
  logging: { console: { level: "warn", metrics: false, audit: false } },
};
