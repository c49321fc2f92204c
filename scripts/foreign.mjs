// Judges manifests of other projects' kinds, by what npm has of their own sources.
//
//   foreign.mjs TOOLS MANIFESTS
//
// TOOLS is where k8s/tools/foreign is installed, MANIFESTS what `manifests.py --foreign` wrote. Each is judged twice:
// by a validator, for what a schema says of values, and as a literal of the kind's type by TypeScript's compiler,
// for names that the kind does not have, which an API server would drop without a word.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const PACKAGES = {
  "bitnami.com": "sealed-secrets",
  "cert-manager.io": "cert-manager",
  "external-secrets.io": "external-secrets",
  "gateway.networking.k8s.io": "gateway-api",
  "monitoring.coreos.com": "prometheus-operator",
};

const [tools, manifests] = process.argv.slice(2).map((path) => resolve(path));
const found = JSON.parse(readFileSync(manifests, "utf8"));
const literals = join(tools, "literals");
rmSync(literals, { recursive: true, force: true });
mkdirSync(literals);

const labels = new Map();
const problems = [];
for (const [number, { path, item }] of found.entries()) {
  const [group, version] = item.apiVersion.split("/");
  const module = `@kubernetes-models/${PACKAGES[group]}/${group}/${version}/${item.kind}`;
  const label = `${path}: ${item.kind}/${item.metadata.name}`;
  labels.set(`${number}.ts`, label);
  const imported = `import type { I${item.kind} } from ${JSON.stringify(module)};\n`;
  writeFileSync(join(literals, `${number}.ts`), `${imported}export const item: I${item.kind} = ${JSON.stringify(item, null, 1)};\n`);
  const models = await import(pathToFileURL(join(tools, "node_modules", `${module}.js`)));
  try {
    new models[item.kind](item).validate();
  } catch (error) {
    problems.push(`${label}: ${error.message}`);
  }
}

writeFileSync(
  join(literals, "tsconfig.json"),
  JSON.stringify({
    compilerOptions: { noEmit: true, strict: true, skipLibCheck: true, module: "nodenext", target: "es2022", types: [] },
    include: ["*.ts"],
  }),
);
writeFileSync(join(literals, "package.json"), JSON.stringify({ type: "module" }));
try {
  execFileSync(process.execPath, [join(tools, "node_modules/typescript/bin/tsc"), "--pretty", "false"], { cwd: literals, encoding: "utf8" });
} catch (error) {
  for (const line of (error.stdout || String(error)).trim().split("\n")) {
    problems.push(line.replace(/^(\d+\.ts)\(\d+,\d+\)/, (_, file) => labels.get(file)));
  }
}

for (const problem of problems) console.error(problem);
console.log(`${found.length} manifests of other projects' kinds`);
process.exitCode = problems.length > 0 ? 1 : 0;
