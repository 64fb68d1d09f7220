// The HTTP face, driven by nothing but the official cloud SDKs for Node.js: the new one (V3) and pop-core (v1),
// by POST and by GET.

import { createHash } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.OTARIA_NODE}/package.json`);
const Iot = require("@alicloud/iot20180120");
const OpenApi = require("@alicloud/openapi-client");
const { RPCClient } = require("@alicloud/pop-core");

const endpoint = process.env.OTARIA_HTTP;
const id = process.env.OTARIA_ACCESS_KEY_ID;
const secret = process.env.OTARIA_ACCESS_KEY_SECRET;

let passed = 0;
let failed = 0;

async function check(sentence, work) {
  try {
    await work();
    passed += 1;
    console.log(`ok     ${sentence}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${sentence}: ${error.code ?? error.name}: ${error.message}`);
  }
}

function equal(found, wanted) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${a} instead of ${b}`);
}

// An action with parameters by their wire names, as a flat answer by wire names; lists are lists.
function newSdk(key = [id, secret]) {
  const config = new OpenApi.Config({ accessKeyId: key[0], accessKeySecret: key[1], endpoint, protocol: "http" });
  const client = new Iot.default(config);
  return async (action, params) => {
    const request = new Iot[`${action}Request`]();
    const names = Object.entries(Iot[`${action}Request`].names());
    for (const [property, wire] of names) {
      if (!(wire in params)) continue;
      const value = params[wire];
      request[property] = Array.isArray(value) && typeof value[0] === "object"
        ? value.map((item) => new Iot[`${action}Request${wire}`](lowered(item)))
        : value;
    }
    const method = action[0].toLowerCase() + action.slice(1);
    const answer = await client[method](request);
    return answer.body.toMap();
  };
}

const lowered = (item) => Object.fromEntries(Object.entries(item).map(([k, v]) => [k[0].toLowerCase() + k.slice(1), v]));

function popCore(method, key = [id, secret]) {
  const client = new RPCClient({
    accessKeyId: key[0],
    accessKeySecret: key[1],
    endpoint: `http://${endpoint}`,
    apiVersion: "2018-01-20",
  });
  return (action, params) => client.request(action, flat(params), { method, timeout: 30000 });
}

// Lists as numbered parameters, which pop-core leaves to its callers.
function flat(params) {
  const numbered = {};
  for (const [name, value] of Object.entries(params)) {
    if (!Array.isArray(value)) numbered[name] = value;
    else value.forEach((item, at) => {
      if (typeof item !== "object") numbered[`${name}.${at + 1}`] = item;
      else for (const [key, inner] of Object.entries(item)) numbered[`${name}.${at + 1}.${key}`] = inner;
    });
  }
  return numbered;
}

function done(answer) {
  if (answer.Success !== true) throw new Error(`${answer.Code}: ${answer.ErrorMessage}`);
  return answer;
}

async function refusal(promise) {
  const answer = await promise.catch((error) => ({ Success: false, Code: error.code ?? error.data?.Code }));
  if (answer.Success !== false) throw new Error(`accepted: ${JSON.stringify(answer)}`);
  return answer.Code;
}

async function upload(call) {
  const form = done(await call("GenerateOTAUploadURL", { FileSuffix: "bin" })).Data;
  const data = Buffer.from("a package ".repeat(1000));
  const body = new FormData();
  body.set("key", form.Key);
  body.set("policy", form.Policy);
  body.set("OSSAccessKeyId", form.OSSAccessKeyId);
  body.set("Signature", form.Signature);
  body.set("success_action_status", "200");
  body.set("file", new Blob([data]), "f");
  const posted = await fetch(form.Host.includes("://") ? form.Host : `http://${form.Host}`, { method: "POST", body });
  equal(posted.status, 200);
  return [form.FirmwareUrl, createHash("md5").update(data).digest("hex"), data.length];
}

async function walk(words, call) {
  const unique = () => Math.random().toString(36).slice(2, 10);
  let product, device, firmware, job;
  await check(`${words}: a product is made and found`, async () => {
    const name = `conf_${unique()}`;
    product = done(await call("CreateProduct", { ProductName: name, NodeType: 0 })).ProductKey;
    equal(done(await call("QueryProduct", { ProductKey: product })).Data.ProductName, name);
  });
  await check(`${words}: a device is registered and told in full`, async () => {
    const made = done(await call("RegisterDevice", { ProductKey: product, DeviceName: `dev_${unique()}` })).Data;
    device = made.DeviceName;
    const detail = done(await call("QueryDeviceDetail", { ProductKey: product, DeviceName: device })).Data;
    equal([detail.DeviceSecret, detail.Status], [made.DeviceSecret, "UNACTIVE"]);
  });
  await check(`${words}: a package is uploaded and made`, async () => {
    const [url, md5, size] = await upload(call);
    const params = { ProductKey: product, FirmwareName: `fw_${unique()}`, DestVersion: "2.0.0", FirmwareUrl: url, NeedToVerify: false };
    firmware = done(await call("CreateOTAFirmware", params)).Data.FirmwareId;
    const info = done(await call("QueryOTAFirmware", { FirmwareId: firmware })).FirmwareInfo;
    equal([info.FirmwareSign, info.FirmwareSize, info.Status], [md5, size, -1]);
  });
  await check(`${words}: a job with tags, versions and names reads back`, async () => {
    const tags = [{ Key: "a", Value: "b c~*'()ü" }, { Key: "d", Value: "e" }];
    const params = { ProductKey: product, FirmwareId: firmware, TargetSelection: "SPECIFIC", TargetDeviceName: [device], Tag: tags, NeedPush: true };
    job = done(await call("CreateOTAStaticUpgradeJob", params)).Data.JobId;
    const found = done(await call("QueryOTAJob", { JobId: job })).Data;
    equal([found.JobStatus, found.TargetSelection, found.NeedPush], ["IN_PROGRESS", "SPECIFIC", true]);
    equal(found.Tags.OtaTagDTO, tags);
  });
  await check(`${words}: its task is listed and cancelled`, async () => {
    const page = done(await call("ListOTATaskByJob", { JobId: job, CurrentPage: 1, PageSize: 10 }));
    const row = page.Data.SimpleOTATaskInfo[0];
    equal([page.Total, row.DeviceName, row.TaskStatus], [1, device, "QUEUED"]);
    done(await call("CancelOTATaskByJob", { JobId: job, CancelQueuedTask: true }));
  });
  await check(`${words}: a dynamic job for a dynamic group reads back, and its strategy is cancelled`, async () => {
    const expression = `product_key = "${product}" and name like "dev%"`;
    const named = { GroupName: `rule_${unique()}`, DynamicGroupExpression: expression };
    const group = done(await call("CreateDeviceDynamicGroup", named)).Data.GroupId;
    const members = done(await call("QueryDynamicGroupDevices", { GroupId: group, CurrentPage: 1, PageSize: 10 }));
    equal(members.Data.SimpleDeviceInfo.map((row) => row.DeviceName), [device]);
    const of = { ProductKey: product, FirmwareId: firmware, GroupId: group, GroupType: "LINK_PLATFORM_DYNAMIC" };
    const standing = done(await call("CreateOTADynamicUpgradeJob", { ...of, DynamicMode: 2 })).Data.JobId;
    const found = done(await call("QueryOTAJob", { JobId: standing })).Data;
    equal([found.SelectionType, found.DynamicMode, found.TargetSelection, found.GroupId], ["DYNAMIC", 2, "ALL", group]);
    equal(await refusal(call("CreateOTADynamicUpgradeJob", of)), "iot.ota.DynamicJobExisted");
    done(await call("CancelOTAStrategyByJob", { JobId: standing }));
    equal(done(await call("QueryOTAJob", { JobId: standing })).Data.JobStatus, "CANCELED");
  });
  await check(`${words}: a rule that is broken is told`, async () => {
    const params = { ProductKey: product, FirmwareId: firmware, TargetSelection: "GRAY" };
    const code = await refusal(call("CreateOTAStaticUpgradeJob", params));
    if (!code) throw new Error("no code");
    equal(await refusal(call("CreateOTAStaticUpgradeJob", { ProductKey: product, TargetSelection: "ALL" })), "MissingFirmwareId");
  });
}

await walk("the new SDK", newSdk());
await walk("pop-core by POST", popCore("POST"));
await walk("pop-core by GET", popCore("GET"));
for (const [words, make] of [["the new SDK", newSdk], ["pop-core", (key) => popCore("POST", key)]]) {
  await check(`${words}: a wrong secret is refused`, async () => {
    const code = await refusal(make([id, "wrong"])("QueryProductList", { CurrentPage: 1, PageSize: 1 }));
    if (!["SignatureDoesNotMatch", "InvalidAccessKeySecret"].includes(code)) throw new Error(code);
  });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
