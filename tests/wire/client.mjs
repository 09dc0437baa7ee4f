// A client in another language: node client.mjs RUNTIME_DIR PROTO_DIR. Prints one line of JSON per step.
import fs from "node:fs";
import path from "node:path";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import protobuf from "protobufjs";

const [runtimeDir, protoDir] = process.argv.slice(2);
const { address } = JSON.parse(fs.readFileSync(path.join(runtimeDir, "supervisor.json"), "utf8"));
const token = fs.readFileSync(path.join(runtimeDir, "token"), "utf8").trim();

const files = ["inference", "model", "supervisor"].map((name) => `vramd/v1/${name}.proto`);
const definition = loader.loadSync(files, { includeDirs: [protoDir], keepCase: true, enums: String });
const { v1 } = grpc.loadPackageDefinition(definition).vramd;
const credentials = grpc.credentials.createInsecure();
const inference = new v1.InferenceService(address, credentials);
const models = new v1.ModelService(address, credentials);
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${token}`);

// The two messages of google.rpc that carry the reason of a refusal.
const { root } = protobuf.parse(`syntax = "proto3";
  message Detail { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Detail details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }`, { keepCase: true });

const print = (step, what) => console.log(JSON.stringify({ step, ...what }));
const options = () => ({ deadline: Date.now() + 30_000 });
const unary = (client, method, request) =>
  new Promise((resolve, reject) =>
    client[method](request, metadata, options(), (error, answer) => (error ? reject(error) : resolve(answer))));
const chat = (model, max_tokens) =>
  inference.Chat({ model, messages: [{ role: "user", parts: [{ text: "Hello" }] }], limits: { max_tokens } }, metadata, options());

function reasonOf(error) {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const detail = root.lookupType("Status").decode(bytes).details.find(({ type_url }) => type_url.endsWith("/google.rpc.ErrorInfo"));
  return root.lookupType("ErrorInfo").decode(detail.value);
}

const listed = await unary(models, "ListModels", {});
print("list", { models: listed.models.map(({ id }) => id) });

let last;
for await (const step of models.LoadModel({ model: "talker" }, metadata, options())) last = step;
print("load", { state: last.state, model: last.resident.model });

let text = "", tokens = 0, finish;
for await (const piece of chat("talker", 5)) {
  text += piece.text ?? "";
  tokens += piece.token_ids?.length ?? 0;
  finish = piece.finish ?? finish;
}
print("stream", { text, tokens, reason: finish.reason });

const endless = chat("slow", 100_000);
endless.once("data", () => endless.cancel());
const cancelled = await new Promise((resolve) => endless.on("error", resolve).resume());
print("cancel", { code: grpc.status[cancelled.code] });

const error = await unary(models, "GetModel", { model: "nobody" }).catch((refused) => refused);
const { reason, domain, metadata: about } = reasonOf(error);
print("error", { code: grpc.status[error.code], reason, domain, metadata: about });
