// Load on the gRPC face: the project's own proto files, in the mix of common.js.
//
//   k6 run -e PROFILE=smoke loadtest/k6/grpc.js

import encoding from 'k6/encoding';
import exec from 'k6/execution';
import grpc from 'k6/net/grpc';
import { check } from 'k6';
import { Counter, Rate } from 'k6/metrics';

import {
  DEVICES, JOB_DEVICES, PACKAGE, PER_MINUTE, drawn, hostOf, hosts, keyId, keySecret, known, names, one, optionsFor,
  answers, remember, some, unwanted,
} from './common.js';

export const options = optionsFor('grpc_req_duration');

const failed = new Rate('call_failed');
const throttled = new Counter('throttled');

const client = new grpc.Client();
// Paths are those of the files as they import each other, below the folder that holds them.
client.load(
  ['../../proto'],
  'otaria/v1/device.proto',
  'otaria/v1/firmware.proto',
  'otaria/v1/job.proto',
  'otaria/v1/task.proto',
);

const SERVICE = {
  CreateProduct: 'DeviceService',
  RegisterDevices: 'DeviceService',
  QueryDevice: 'DeviceService',
  QueryDeviceDetail: 'DeviceService',
  CreateOTAFirmware: 'OtaFirmwareService',
  QueryOTAFirmware: 'OtaFirmwareService',
  QueryOTAJob: 'OtaJobService',
  ListOTAJobByFirmware: 'OtaJobService',
  CreateOTAStaticUpgradeJob: 'OtaJobService',
  ListOTATaskByJob: 'OtaTaskService',
  ListOTAUnfinishedTaskByDevice: 'OtaTaskService',
  CancelOTATaskByJob: 'OtaTaskService',
};

/** Devices that RegisterDevices takes at once. */
const BATCH = 20000;

const metadata = { authorization: `Bearer ${keyId}:${keySecret}` };

let connected = false;

/** Each user has one connection and keeps it. */
function connect(host) {
  if (connected) return;
  client.connect(host, { plaintext: !__ENV.OTARIA_TLS, timeout: '10s' });
  connected = true;
}

/** Answers `{ok, code, body}`. */
function call(action, message) {
  const answer = client.invoke(`otaria.v1.${SERVICE[action]}/${action}`, message, {
    metadata,
    tags: { action },
    timeout: '30s',
  });
  const ok = answer.status === grpc.StatusOK;
  const { status, error, message: body } = /** @type {any} */ (answer);
  return { ok, status, code: ok ? '' : `${status} ${error ? error.message : ''}`, body: body || {} };
}

/** A call of setup or teardown: it works, or there is nothing to test. */
function sure(action, message) {
  const answer = call(action, message);
  if (!answer.ok) exec.test.abort(`${action}: ${answer.code}`);
  return answer.body;
}

function registered(productKey, prefix) {
  const found = /** @type {string[]} */ ([]);
  while (found.length < DEVICES) {
    const count = Math.min(BATCH, DEVICES - found.length);
    const device = Array.from({ length: count }, (_, n) => ({ deviceName: `${prefix}-${found.length + n}` }));
    sure('RegisterDevices', { productKey, device }).results.forEach((result) => {
      if (!result.device) exec.test.abort(`RegisterDevices: ${JSON.stringify(result.error)}`);
      found.push(result.device.deviceName);
    });
  }
  return found;
}

function existing(productKey) {
  const found = /** @type {string[]} */ ([]);
  for (let pageToken = ''; found.length < DEVICES; ) {
    const answer = sure('QueryDevice', { productKey, pageToken });
    answer.devices.forEach((device) => found.push(device.deviceName));
    pageToken = answer.nextPageToken;
    if (!pageToken) break;
  }
  return found;
}

/** Sends a package as a stream and answers its address. */
function sent(content) {
  return new Promise((resolve, reject) => {
    const stream = new grpc.Stream(client, 'otaria.v1.OtaFirmwareService/UploadFirmwareFile', {
      metadata,
      tags: { action: 'UploadFirmwareFile' },
    });
    stream.on('data', (/** @type {any} */ answer) => resolve(answer.firmwareUrl));
    stream.on('error', (/** @type {any} */ error) => reject(new Error(`the package was not taken: ${error.message}`)));
    stream.write({ header: { fileSuffix: 'bin' } });
    stream.write({ chunk: encoding.b64encode(content) });
    stream.end();
  });
}

async function uploaded(productKey, version) {
  const firmwareUrl = await sent(`${version}\n${PACKAGE}`);
  return sure('CreateOTAFirmware', {
    productKey,
    firmwareName: `load_${Date.now().toString(36)}_${version.replace(/\./g, '_')}`,
    destVersion: version,
    firmwareUrl,
    needToVerify: false,
  }).firmwareId;
}

const wish = (things) => ({
  productKey: things.product,
  firmwareId: one(things.firmware),
  targetSelection: 'TARGET_SELECTION_SPECIFIC',
  targetDeviceName: some(things.devices, JOB_DEVICES),
  maximumPerMinute: PER_MINUTE,
  // A device has at most one unfinished task; the newest job gets it.
  overwriteMode: 'OVERWRITE_MODE_REPLACE',
});

/** Makes a product with devices and two packages, or takes those of PRODUCT_KEY. */
export async function setup() {
  connect(hosts.grpc[0]);
  const { product: name, versions } = names();
  const given = __ENV.PRODUCT_KEY;
  const product = given || sure('CreateProduct', { productName: name, nodeType: 'NODE_TYPE_DEVICE' }).productKey;
  const devices = given ? existing(product) : registered(product, name.replace('_', '-'));
  if (devices.length === 0) exec.test.abort(`product ${product} has no devices`);
  const fresh = given ? versions.map((v) => `${v}-${name}`) : versions;
  const things = { product, devices, firmware: /** @type {string[]} */ ([]), jobs: /** @type {string[]} */ ([]) };
  for (const version of fresh) things.firmware.push(await uploaded(product, version));
  things.jobs.push(sure('CreateOTAStaticUpgradeJob', wish(things)).jobId);
  return things;
}

const cancellation = (jobId) => ({
  jobId,
  cancelQueuedTask: true,
  cancelNotifiedTask: true,
  cancelInProgressTask: true,
});

const MESSAGE = {
  QueryOTAJob: (things) => ({ jobId: known(things) }),
  ListOTATaskByJob: (things) => ({ jobId: known(things), pageSize: 50 }),
  QueryDeviceDetail: (things) => ({ productKey: things.product, deviceName: one(things.devices) }),
  ListOTAJobByFirmware: (things) => ({ firmwareId: one(things.firmware), pageSize: 50 }),
  ListOTAUnfinishedTaskByDevice: (things) => ({ productKey: things.product, deviceName: one(things.devices) }),
  QueryOTAFirmware: (things) => ({ firmwareId: one(things.firmware) }),
  CreateOTAStaticUpgradeJob: wish,
  CancelOTATaskByJob: (_, job) => cancellation(job),
};

/** Whether the answer tells what was asked for. */
const TELLS = {
  QueryOTAJob: (body, asked) => body.jobId === asked.jobId,
  ListOTATaskByJob: (body, asked) => body.tasks.every((task) => task.jobId === asked.jobId),
  QueryDeviceDetail: (body, asked) => body.deviceName === asked.deviceName,
  ListOTAJobByFirmware: (body, asked) => body.jobs.every((job) => job.firmwareId === asked.firmwareId),
  ListOTAUnfinishedTaskByDevice: (body, asked) => body.tasks.every((task) => task.deviceName === asked.deviceName),
  QueryOTAFirmware: (body, asked) => body.firmwareInfo.firmwareId === asked.firmwareId,
  CreateOTAStaticUpgradeJob: (body) => Boolean(body.jobId),
  CancelOTATaskByJob: () => true,
};

export default function (things) {
  connect(hostOf(hosts.grpc));
  let action = drawn();
  let job;
  if (action === 'CancelOTATaskByJob') {
    job = unwanted();
    if (!job) action = 'CreateOTAStaticUpgradeJob';
  }
  const message = MESSAGE[action](things, job);
  const { ok, code, body, status } = call(action, message);
  const tells = ok && answers(() => TELLS[action](body, message));
  check(tells, { [`${action} tells what was asked for`]: (right) => right });
  failed.add(!tells, { action });
  throttled.add(status === grpc.StatusResourceExhausted ? 1 : 0);
  if (!tells) console.error(`${action}: ${code || JSON.stringify(body).slice(0, 300)}`);
  if (ok && action === 'CreateOTAStaticUpgradeJob') remember(body.jobId);
}

/** Cancels what is still going on, so that nothing is pushed when the test is over. */
export function teardown(things) {
  connect(hosts.grpc[0]);
  let cancelled = 0;
  things.firmware.forEach((firmwareId) => {
    const open = [];
    for (let pageToken = ''; ; ) {
      const page = sure('ListOTAJobByFirmware', { firmwareId, pageSize: 1000, pageToken });
      page.jobs.filter((job) => job.jobStatus === 'JOB_STATUS_IN_PROGRESS').forEach((job) => open.push(job.jobId));
      pageToken = page.nextPageToken;
      if (!pageToken) break;
    }
    open.forEach((jobId) => {
      sure('CancelOTATaskByJob', cancellation(jobId));
      cancelled += 1;
    });
  });
  console.log(`product ${things.product}: ${cancelled} jobs cancelled at the end`);
}
