// Checks objects of the Prometheus operator, given as JSON on standard input, against its own definitions.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const definitions = `${process.env.OTARIA_NODE}/node_modules/@kubernetes-models/prometheus-operator`;

for (const { apiVersion, kind, ...rest } of JSON.parse(readFileSync(0, "utf8"))) {
  const { [kind]: Kind } = await import(pathToFileURL(`${definitions}/${apiVersion}/${kind}.js`));
  new Kind(rest).validate();
}
