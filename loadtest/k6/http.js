// Load on the HTTP face: signed calls as SDKs make them, in the mix of common.js.
//
//   k6 run -e PROFILE=smoke loadtest/k6/http.js

import exec from 'k6/execution';
import { check } from 'k6';
import { Counter, Rate } from 'k6/metrics';

import {
  DEVICES, JOB_DEVICES, PACKAGE, PER_MINUTE, answers, drawn, hostOf, hosts, known, names, one, optionsFor, remember, some,
  unwanted,
} from './common.js';
import { call, upload } from './openapi.js';

export const options = optionsFor('http_req_duration');

const failed = new Rate('call_failed');
const throttled = new Counter('throttled');

const FIRST = hosts.http[0];
/** Rows that an answer holds at most, where setup reads pages. */
const PAGE = 50;
/** Names that BatchRegisterDevice makes up at once. */
const BATCH = 10000;

/** A call of setup or teardown: it works, or there is nothing to test. */
function sure(action, params) {
  const answer = call(FIRST, action, params);
  if (!answer.ok) exec.test.abort(`${action}: ${answer.code}`);
  return answer.body;
}

function registered(product) {
  const found = /** @type {string[]} */ ([]);
  for (let left = DEVICES; left > 0; left -= BATCH) {
    const ask = { ProductKey: product, Count: Math.min(left, BATCH) };
    const apply = sure('BatchRegisterDevice', ask).Data.ApplyId;
    for (let page = 1; ; page += 1) {
      const answer = sure('QueryPageByApplyId', { ApplyId: apply, CurrentPage: page, PageSize: PAGE });
      const rows = answer.ApplyDeviceList.ApplyDeviceInfo;
      rows.forEach((row) => found.push(row.DeviceName));
      if (rows.length < PAGE) break;
    }
  }
  return found;
}

function existing(product) {
  const found = /** @type {string[]} */ ([]);
  for (let token = ''; found.length < DEVICES; ) {
    const ask = { ProductKey: product, PageSize: PAGE, CurrentPage: 1 };
    if (token) ask.NextToken = token;
    const answer = sure('QueryDevice', ask);
    answer.Data.DeviceInfo.forEach((row) => found.push(row.DeviceName));
    token = answer.NextToken;
    if (!token) break;
  }
  return found;
}

function uploaded(product, version) {
  const form = sure('GenerateOTAUploadURL', { FileSuffix: 'bin' }).Data;
  upload(
    {
      host: form.Host, key: form.Key, policy: form.Policy, accessKeyId: form.OSSAccessKeyId,
      signature: form.Signature,
    },
    `${version}\n${PACKAGE}`,
  );
  return sure('CreateOTAFirmware', {
    ProductKey: product,
    FirmwareName: `load_${Date.now().toString(36)}_${version.replace(/\./g, '_')}`,
    DestVersion: version,
    FirmwareUrl: form.FirmwareUrl,
    NeedToVerify: false,
  }).Data.FirmwareId;
}

const wish = (things) => {
  const params = {
    ProductKey: things.product,
    FirmwareId: one(things.firmware),
    TargetSelection: 'SPECIFIC',
    MaximumPerMinute: PER_MINUTE,
    // A device has at most one unfinished task; the newest job gets it.
    OverwriteMode: 2,
  };
  some(things.devices, JOB_DEVICES).forEach((name, n) => {
    params[`TargetDeviceName.${n + 1}`] = name;
  });
  return params;
};

/** Makes a product with devices and two packages, or takes those of PRODUCT_KEY. */
export function setup() {
  const { product: name, versions } = names();
  const given = __ENV.PRODUCT_KEY;
  const product = given || sure('CreateProduct', { ProductName: name, NodeType: 0 }).ProductKey;
  const devices = given ? existing(product) : registered(product);
  if (devices.length === 0) exec.test.abort(`product ${product} has no devices`);
  const fresh = given ? versions.map((v) => `${v}-${name}`) : versions;
  const firmware = fresh.map((version) => uploaded(product, version));
  const things = { product, devices, firmware, jobs: /** @type {string[]} */ ([]) };
  things.jobs.push(sure('CreateOTAStaticUpgradeJob', wish(things)).Data.JobId);
  return things;
}

const PARAMS = {
  QueryOTAJob: (things) => ({ JobId: known(things) }),
  ListOTATaskByJob: (things) => ({ JobId: known(things), CurrentPage: 1, PageSize: 50 }),
  QueryDeviceDetail: (things) => ({ ProductKey: things.product, DeviceName: one(things.devices) }),
  ListOTAJobByFirmware: (things) => ({ FirmwareId: one(things.firmware), CurrentPage: 1, PageSize: 50 }),
  ListOTAUnfinishedTaskByDevice: (things) => ({ ProductKey: things.product, DeviceName: one(things.devices) }),
  QueryOTAFirmware: (things) => ({ FirmwareId: one(things.firmware) }),
  CreateOTAStaticUpgradeJob: wish,
  CancelOTATaskByJob: (_, job) => cancellation(job),
};

const cancellation = (job) => ({
  JobId: job,
  CancelQueuedTask: true,
  CancelNotifiedTask: true,
  CancelInProgressTask: true,
});

/** Whether the answer tells what was asked for. */
const TELLS = {
  QueryOTAJob: (body, params) => body.Data.JobId === params.JobId,
  ListOTATaskByJob: (body, params) => body.Data.SimpleOTATaskInfo.every((task) => task.JobId === params.JobId),
  QueryDeviceDetail: (body, params) => body.Data.DeviceName === params.DeviceName,
  ListOTAJobByFirmware: (body, params) =>
    body.Data.SimpleOTAJobInfo.every((job) => job.FirmwareId === params.FirmwareId),
  ListOTAUnfinishedTaskByDevice: (body, params) =>
    body.Data.SimpleOTATaskInfo.every((task) => task.DeviceName === params.DeviceName),
  QueryOTAFirmware: (body, params) => body.FirmwareInfo.FirmwareId === params.FirmwareId,
  CreateOTAStaticUpgradeJob: (body) => Boolean(body.Data.JobId),
  CancelOTATaskByJob: () => true,
};

export default function (things) {
  let action = drawn();
  let job;
  if (action === 'CancelOTATaskByJob') {
    job = unwanted();
    if (!job) action = 'CreateOTAStaticUpgradeJob';
  }
  const params = PARAMS[action](things, job);
  const { ok, code, body } = call(hostOf(hosts.http), action, params);
  const tells = ok && answers(() => TELLS[action](body, params));
  check(tells, { [`${action} tells what was asked for`]: (right) => right });
  failed.add(!tells, { action });
  throttled.add(code.includes('Throttling') ? 1 : 0);
  if (!tells) console.error(`${action}: ${code || JSON.stringify(body).slice(0, 300)}`);
  if (ok && action === 'CreateOTAStaticUpgradeJob') remember(body.Data.JobId);
}

/** Cancels what is still going on, so that nothing is pushed when the test is over. */
export function teardown(things) {
  let cancelled = 0;
  things.firmware.forEach((firmware) => {
    const seen = [];
    for (let page = 1; page <= 500; page += 1) {
      const rows = sure('ListOTAJobByFirmware', { FirmwareId: firmware, CurrentPage: page, PageSize: 200 });
      rows.Data.SimpleOTAJobInfo.forEach((job) => seen.push(job));
      if (rows.Data.SimpleOTAJobInfo.length < 200) break;
    }
    seen.filter((job) => job.JobStatus === 'IN_PROGRESS').forEach((job) => {
      sure('CancelOTATaskByJob', cancellation(job.JobId));
      cancelled += 1;
    });
  });
  console.log(`product ${things.product}: ${cancelled} jobs cancelled at the end`);
}
