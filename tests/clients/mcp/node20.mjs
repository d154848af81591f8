// The suite imports fs.globSync by name, which Node has since 22 only, and does not need it here.
import { register } from 'node:module';

const fs = 'data:text/javascript,' + encodeURIComponent("export * from 'node:fs'; export const globSync = () => [];");
const hooks = `export const resolve = (name, context, next) =>
  name === 'fs' && context.parentURL?.includes('/conformance/')
    ? { url: ${JSON.stringify(fs)}, shortCircuit: true } : next(name, context);`;
register('data:text/javascript,' + encodeURIComponent(hooks));
