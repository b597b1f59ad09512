// scimmy-routers on express, from its README. Users live in memory. The handlers answer `userName eq` from an index and
// cut pages themselves: scimmy would otherwise make a schema instance of every user it is handed.
import {randomUUID} from "node:crypto";
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const [port, token] = process.argv.slice(2);
const users = new Map();
const byName = new Map();
const inOrder = [];

const absent = (id) => new SCIMMY.Types.Error(404, null, `Resource ${id} not found`);
const taken = () => new SCIMMY.Types.Error(409, "uniqueness", "userName is taken");

function write(resource, data) {
    const known = resource.id && users.get(resource.id);
    if (resource.id && !known) throw absent(resource.id);
    const key = data.userName.toLowerCase();
    const owner = byName.get(key);
    if (owner && owner !== known) throw taken();
    const user = known ?? {id: randomUUID(), meta: {created: new Date()}};
    if (known) byName.delete(known.userName.toLowerCase());
    else inOrder.push(user);
    for (const name of Object.keys(user)) if (name !== "id" && name !== "meta") delete user[name];
    Object.assign(user, JSON.parse(JSON.stringify(data)), {id: user.id, meta: {...user.meta, lastModified: new Date()}});
    users.set(user.id, user);
    byName.set(key, user);
    return user;
}

function read(resource) {
    if (resource.id) {
        const user = users.get(resource.id);
        if (!user) throw absent(resource.id);
        return user;
    }
    const [only, ...more] = resource.filter ?? [];
    const [operator, value] = (!more.length && only && Object.keys(only).length === 1 && only.userName) || [];
    if (operator === "eq") return [byName.get(String(value).toLowerCase())].filter(Boolean);
    if (resource.filter) return resource.filter.match(inOrder);
    const {startIndex = 1, count = 20} = resource.constraints ?? {};
    resource.constraints = {...resource.constraints, startIndex, count, totalResults: inOrder.length};
    return inOrder.slice(startIndex - 1, startIndex - 1 + count);
}

function remove({id}) {
    const user = users.get(id);
    if (!user) throw absent(id);
    users.delete(id);
    byName.delete(user.userName.toLowerCase());
    inOrder.splice(inOrder.indexOf(user), 1);
}

SCIMMY.Resources.declare(SCIMMY.Resources.User).ingress(write).egress(read).degress(remove);
const handler = (request) => {
    if (request.header("Authorization") !== `Bearer ${token}`) throw new Error("Authorization not detected!");
    return "bench";
};
const app = express();
app.disable("x-powered-by");
// scimmy takes startIndex and count only as numbers, and a query has none: without this, GET cannot page at all.
app.set("query parser", (text) => {
    const query = Object.fromEntries(new URLSearchParams(text));
    for (const name of ["startIndex", "count"]) if (/^\d+$/.test(query[name])) query[name] = Number(query[name]);
    return query;
});
app.use("/scim", new SCIMMYRouters({type: "bearer", handler}));
app.listen(Number(port), "127.0.0.1");
