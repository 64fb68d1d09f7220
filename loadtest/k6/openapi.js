// The HTTP face: signed calls, and the form by which a package is uploaded.
//
// Both signatures of the wire are here, RPC v1 (HMAC-SHA1 over the sorted parameters) and V3 (ACS3-HMAC-SHA256 over
// the request). This is a third implementation beside the server's and the SDKs', on purpose.

import crypto from 'k6/crypto';
import http from 'k6/http';
import exec from 'k6/execution';

import { keyId, keySecret } from './common.js';

const VERSION = '2018-01-20';
const SCHEME = __ENV.OTARIA_TLS ? 'https' : 'http';
const PATIENCE = '30s';
const PARTING = 'otaria-loadtest-7d1f0c5e';

let said = 0;

/** Different in every call of every user of every run; the server takes each once. */
function nonce() {
  said += 1;
  const vu = exec.vu.idInTest;
  return `k6-${vu}-${said}-${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
}

const timestamp = () => `${new Date().toISOString().slice(0, 19)}Z`;

// Everything but letters, digits and `-_.~`; encodeURIComponent leaves five more.
const encoded = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

const before = (a, b) => (a < b ? -1 : Number(a > b));

function sorted(params) {
  const names = Object.keys(params).sort(before);
  return names.map((name) => `${encoded(name)}=${encoded(String(params[name]))}`).join('&');
}

/** The signature of RPC v1. */
export function rpcSignature(method, canonical, secret) {
  return crypto.hmac('sha1', `${secret}&`, `${method}&%2F&${encoded(canonical)}`, 'base64');
}

/** The signature of V3, over headers that are signed all. */
export function v3Signature(method, query, headers, secret) {
  const names = Object.keys(headers).sort(before);
  const lines = names.map((name) => `${name}:${headers[name].trim()}\n`).join('');
  const signed = names.join(';');
  const canonical = [method, '/', query, lines, signed, headers['x-acs-content-sha256']].join('\n');
  const text = `ACS3-HMAC-SHA256\n${crypto.sha256(canonical, 'hex')}`;
  return { signed, signature: crypto.hmac('sha256', secret, text, 'hex') };
}

function rpc(host, action, params, request) {
  const all = {
    ...params,
    AccessKeyId: keyId,
    Action: action,
    Format: 'JSON',
    SignatureMethod: 'HMAC-SHA1',
    SignatureNonce: nonce(),
    SignatureVersion: '1.0',
    Timestamp: timestamp(),
    Version: VERSION,
  };
  all.Signature = rpcSignature('POST', sorted(all), keySecret);
  const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
  return http.post(`${SCHEME}://${host}/`, sorted(all), { ...request, headers });
}

function v3(host, action, params, request) {
  const query = sorted(params);
  const headers = {
    accept: 'application/json',
    host,
    'x-acs-action': action,
    'x-acs-content-sha256': crypto.sha256('', 'hex'),
    'x-acs-date': timestamp(),
    'x-acs-signature-nonce': nonce(),
    'x-acs-version': VERSION,
  };
  const { signed, signature } = v3Signature('POST', query, headers, keySecret);
  const authorization =
    `ACS3-HMAC-SHA256 Credential=${keyId},SignedHeaders=${signed},Signature=${signature}`;
  return http.post(`${SCHEME}://${host}/${query ? `?${query}` : ''}`, null, {
    ...request,
    headers: { ...headers, Authorization: authorization },
  });
}

/**
 * Calls an action, two of three times under a V3 signature and else under one of RPC v1.
 *
 * Answers `{ok, code, body}`: a broken rule is an HTTP 200 with `Success: false`.
 */
export function call(host, action, params) {
  const style = Math.random() < 2 / 3 ? v3 : rpc;
  // The address holds a signature; without a name of its own every call would be a metric of its own.
  const answer = style(host, action, params, { timeout: PATIENCE, tags: { action, name: action } });
  let body = {};
  try {
    body = answer.json() || {};
  } catch (_) {
    // Not JSON: then it is no success, and status and text tell what it is.
  }
  const ok = answer.status === 200 && body.Success === true;
  const code = ok ? '' : `${answer.status} ${body.Code || answer.error || ''} ${body.ErrorMessage || body.Message || ''}`;
  return { ok, code, body };
}

/** Posts a package by the form that GenerateOTAUploadURL answered. The file has to be the last field. */
export function upload(form, content) {
  const fields = {
    key: form.key,
    policy: form.policy,
    OSSAccessKeyId: form.accessKeyId,
    Signature: form.signature,
    success_action_status: '200',
  };
  const parts = Object.keys(fields).map(
    (name) => `--${PARTING}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${fields[name]}\r\n`,
  );
  const file =
    `--${PARTING}\r\nContent-Disposition: form-data; name="file"; filename="package.bin"\r\n` +
    `Content-Type: application/octet-stream\r\n\r\n${content}\r\n--${PARTING}--\r\n`;
  const answer = http.post(form.host, parts.join('') + file, {
    headers: { 'Content-Type': `multipart/form-data; boundary=${PARTING}` },
    tags: { name: 'upload' },
    timeout: PATIENCE,
  });
  if (answer.status !== 200) throw new Error(`the package was not taken: ${answer.status} ${answer.body}`);
}
