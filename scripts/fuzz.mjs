// Runs test/fuzz.ts, which is TypeScript and not built: vite compiles it on the way.
import { createServer } from "vite";

const server = await createServer({
  configFile: false,
  server: { middlewareMode: true, hmr: false, ws: false },
  appType: "custom",
  logLevel: "error",
  // Node.js 20 has no `using`.
  oxc: { target: "node20" },
});
try {
  const { main } = await server.ssrLoadModule("/test/fuzz.ts");
  process.exitCode = await main(process.argv.slice(2));
} finally {
  await server.close();
}
