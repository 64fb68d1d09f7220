// What both load tests share: where the servers are, profiles, thresholds, the mix of calls, and what a user
// remembers. Knows no wire.
//
// Every setting is an environment variable; README.md lists them.

import exec from 'k6/execution';

const list = (text) => text.split(',').map((one) => one.trim()).filter(Boolean);
const number = (name, otherwise) => {
  const value = Number(__ENV[name] || otherwise);
  if (!(value > 0)) throw new Error(`${name} must be a number above 0, not ${__ENV[name]}`);
  return value;
};

export const keyId = __ENV.OTARIA_ACCESS_KEY_ID || '';
export const keySecret = __ENV.OTARIA_ACCESS_KEY_SECRET || '';
if (!keyId || !keySecret) {
  throw new Error('set OTARIA_ACCESS_KEY_ID and OTARIA_ACCESS_KEY_SECRET to a key with the role OPERATOR or ADMIN');
}

/** Several servers, with commas: each user stays with one of them. */
export const hosts = {
  grpc: list(__ENV.OTARIA_GRPC || '127.0.0.1:50051'),
  http: list(__ENV.OTARIA_HTTP || '127.0.0.1:8080'),
};

/** The host of this user; setup and teardown take the first. */
export function hostOf(all) {
  return all[exec.vu.idInTest % all.length];
}

/** Devices that setup registers: at least those of one job. */
export const DEVICES = number('DEVICES', 200);
/** Devices of one job; the API takes 200 at most. */
export const JOB_DEVICES = Math.min(number('JOB_DEVICES', 5), DEVICES, 200);
/** Notices a minute that a job of the test asks for. */
export const PER_MINUTE = number('MAXIMUM_PER_MINUTE', 600);

// ---- profiles ------------------------------------------------------------------------------------------------

const RATE = number('RATE', 100);
const DURATION = __ENV.DURATION;

// Calls begin at their time whether or not earlier ones are done: a server that slows down gets no relief, and
// what could not be begun for want of users is counted as dropped.
const arriving = (stages, from) => ({
  executor: 'ramping-arrival-rate',
  startRate: Math.ceil(from),
  timeUnit: '1s',
  preAllocatedVUs: Math.ceil(Math.max(10, RATE / 2)),
  maxVUs: Math.ceil(Math.max(50, RATE * 4)),
  stages: stages.map(([target, duration]) => ({ target: Math.ceil(target), duration })),
  gracefulStop: '15s',
});

/** Scenario and patience of each profile: p95 of calls that read and that write, in milliseconds. */
const PROFILES = {
  // Whether everything works at all: seconds, any machine, a debug build too.
  smoke: {
    scenario: () => ({
      executor: 'constant-arrival-rate',
      rate: 20,
      timeUnit: '1s',
      duration: DURATION || '8s',
      preAllocatedVUs: 10,
      maxVUs: 60,
      gracefulStop: '10s',
    }),
    read: 1500,
    write: 2500,
  },
  // An ordinary day: up to RATE calls a second, and on at that.
  steady: { scenario: () => arriving([[RATE, '20s'], [RATE, DURATION || '5m']], RATE / 10), read: 100, write: 250 },
  // Everybody at once: within seconds from a fifth of RATE to three times RATE, and down again.
  spike: {
    scenario: () =>
      arriving(
        [[RATE / 5, '30s'], [RATE * 3, '5s'], [RATE * 3, DURATION || '1m'], [RATE / 5, '5s'], [RATE / 5, '1m']],
        RATE / 5,
      ),
    read: 500,
    write: 1000,
    dropped: 0.05,
  },
  // The same for hours: what grows shows.
  soak: { scenario: () => arriving([[RATE, '1m'], [RATE, DURATION || '2h']], RATE / 10), read: 100, write: 250 },
};

const NAME = __ENV.PROFILE || 'steady';
const PROFILE = PROFILES[NAME];
if (!PROFILE) throw new Error(`PROFILE must be one of ${Object.keys(PROFILES).join(', ')}, not ${NAME}`);

/** Share of calls that may fail. */
const ERRORS = Number(__ENV.MAX_ERROR_RATE || 0.001);

/**
 * The options of a load test.
 *
 * `duration` is the metric of the calls; the thresholds name each action, so that the summary shows each.
 */
export function optionsFor(duration) {
  const thresholds = {
    checks: [`rate>=${1 - ERRORS}`],
    // Once something is broken for good, hours of it tell no more.
    call_failed: [
      `rate<=${ERRORS}`,
      { threshold: 'rate<0.5', abortOnFail: true, delayAbortEval: '10s' },
    ],
    throttled: ['count<1'],
    // A test that did nothing has shown nothing.
    iterations: ['count>0'],
  };
  for (const { action, writes } of MIX) {
    const patience = writes
      ? number('MAX_P95_WRITE_MS', PROFILE.write)
      : number('MAX_P95_READ_MS', PROFILE.read);
    thresholds[`${duration}{action:${action}}`] = [`p(95)<${patience}`];
  }
  // In the smoke test a slow machine may start late; elsewhere it is the load that was not reached.
  if (NAME !== 'smoke') {
    thresholds.dropped_iterations = [`rate<${Math.max(0.5, RATE * (PROFILE.dropped || 0.01))}`];
  }
  return {
    scenarios: { [NAME]: PROFILE.scenario() },
    thresholds,
    setupTimeout: '2m',
    teardownTimeout: '10m',
    summaryTrendStats: ['count', 'avg', 'med', 'p(95)', 'p(99)', 'max'],
    userAgent: 'otaria-loadtest-k6',
  };
}

// ---- the mix of calls ----------------------------------------------------------------------------------------

// Calls of a hundred: mostly looking, as dashboards and scripts do, and now and then a job is made or cancelled.
export const MIX = [
  { action: 'QueryOTAJob', share: 30 },
  { action: 'ListOTATaskByJob', share: 20 },
  { action: 'QueryDeviceDetail', share: 16 },
  { action: 'ListOTAJobByFirmware', share: 12 },
  { action: 'ListOTAUnfinishedTaskByDevice', share: 6 },
  { action: 'QueryOTAFirmware', share: 6 },
  { action: 'CreateOTAStaticUpgradeJob', share: 6, writes: true },
  { action: 'CancelOTATaskByJob', share: 4, writes: true },
];

/** Draws an action. */
export function drawn() {
  let left = Math.random() * MIX.reduce((sum, one) => sum + one.share, 0);
  for (const { action, share } of MIX) {
    left -= share;
    if (left < 0) return action;
  }
  return MIX[0].action;
}

/** Whether an answer is right; one without the fields that it needs is not. */
export function answers(right) {
  try {
    return Boolean(right());
  } catch (_) {
    return false;
  }
}

export const one = (from) => from[Math.floor(Math.random() * from.length)];

/** Some neighbours of a list, so that no name comes twice. */
export function some(from, count) {
  const first = Math.floor(Math.random() * from.length);
  return Array.from({ length: Math.min(count, from.length) }, (_, n) => from[(first + n) % from.length]);
}

/** Jobs that this user made and did not cancel; the newest are asked for most. */
const jobs = [];
const REMEMBERED = 20;

export function remember(job) {
  jobs.push(job);
  if (jobs.length > REMEMBERED) jobs.shift();
}

/** A job to ask for; one of those that setup made as long as there is no own one. */
export const known = (things) => (jobs.length > 0 ? one(jobs) : one(things.jobs));

/** A job to cancel, the oldest of this user's; nothing if there is none. */
export const unwanted = () => jobs.shift();

/**
 * What this run's things are called. Two versions, so that a device that has one can get the other: jobs go on
 * finding something to do however long the test takes.
 */
export const names = () => ({
  product: `load_${Date.now().toString(36)}${Math.floor(Math.random() * 1296).toString(36)}`,
  versions: ['2.0.0', '3.0.0'],
});

/** What every package of the test holds; devices only need something to download. */
export const PACKAGE = 'a package of a load test\n'.repeat(200);
