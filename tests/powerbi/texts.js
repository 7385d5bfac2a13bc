// Reads every text of powerbi/ with a parser of its language: M with Microsoft's, JSON against the published schemas
// that stand in `schemas/` beside this file, resx and proj as XML well enough to have their strings.
//
// Usage: NODE_PATH=node_modules node texts.js POWERBI '{"table": "let .. in .."}'

const fs = require("fs");
const path = require("path");
const Ajv = require("ajv");
const { DefaultSettings, TaskUtils } = require("@microsoft/powerquery-parser");

const [folder, expressions] = process.argv.slice(2);
const schemas = path.join(__dirname, "schemas");
const BASE = "https://developer.microsoft.com/json-schemas/fabric/";
const failed = [];
let read = 0;

function files(at) {
    return fs.readdirSync(at, { withFileTypes: true }).flatMap((entry) => {
        const place = path.join(at, entry.name);
        return entry.isDirectory() ? files(place) : [place];
    });
}

async function m(name, text) {
    read += 1;
    const task = await TaskUtils.tryLexParse(DefaultSettings, text);
    if (TaskUtils.isError(task)) {
        failed.push(`${name}: ${task.error.message}`);
    }
}

// Where a schema is published decides what its relative references mean, not the `$id` it gives itself.
const ajv = new Ajv({ strict: false, allErrors: true });
for (const file of files(schemas).filter((file) => file.endsWith(".json"))) {
    const schema = JSON.parse(fs.readFileSync(file, "utf8"));
    schema.$id = BASE + path.relative(schemas, file).split(path.sep).join("/");
    ajv.addSchema(schema);
}

function json(name, text) {
    read += 1;
    const value = JSON.parse(text);
    const validate = ajv.getSchema(value.$schema);
    if (!validate) {
        failed.push(`${name}: no schema ${value.$schema}`);
    } else if (!validate(value)) {
        failed.push(`${name}: ${ajv.errorsText(validate.errors)}`);
    }
}

(async () => {
    for (const [name, text] of Object.entries(JSON.parse(expressions))) {
        await m(name, text);
    }
    const strings = new Set();
    const named = new Set();
    for (const file of files(folder)) {
        const text = fs.readFileSync(file, "utf8");
        if (/\.pqm?$/.test(file)) {
            await m(file, text);
            for (const [, name] of text.matchAll(/Extension\.LoadString\("(\w+)"\)/g)) named.add(name);
            for (const [, name] of text.matchAll(/Documented\("(\w+)"/g)) named.add(name);
        } else if (/\.(json|pbip|pbir|pbism|platform)$/.test(file)) {
            json(file, text);
        } else if (file.endsWith(".resx")) {
            for (const [, name] of text.matchAll(/<data name="(\w+)"/g)) strings.add(name);
        }
    }
    for (const name of named) if (!strings.has(name)) failed.push(`resources.resx has no ${name}`);
    for (const name of strings) if (!named.has(name)) failed.push(`nothing shows ${name} of resources.resx`);
    console.log(failed.join("\n") || `${read} texts passed`);
    process.exit(failed.length === 0 && read > 40 ? 0 : 1);
})();
