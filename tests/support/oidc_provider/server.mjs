// OpenID provider for tests and for the demo: npm's oidc-provider with a login page that takes any name.
//
// Settings are one JSON object in OIDC_PROVIDER_SETTINGS: `folder` (that has node_modules), `port`, `people` (claims by
// subject), `clients` (their metadata), `button` (a subject: the login page offers one button for it, and takes no other
// name). CLEF_DEMO_LISTENER is the number of a socket that listens on that port already. Says "ready" once it serves.
// From then on each line of standard input is a command in JSON, answered by a line of JSON. Ends with its input.

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const settings = JSON.parse(process.env.OIDC_PROVIDER_SETTINGS);
const { Provider } = await import(
  pathToFileURL(createRequire(`${settings.folder}/`).resolve('oidc-provider')).href
);

const issuer = `http://localhost:${settings.port}`;
const cookieKeys = [randomBytes(32).toString('hex')];
const clients = new Map((settings.clients ?? []).map((metadata) => [metadata.client_id, metadata]));
let keys = makeKeys();
let options = { require_par: false };
let provider;
let handle;
const failures = []; // of logout notifications: {client_id, error}

// One key for each algorithm that a client may ask for. Ed25519 and EdDSA share one: it has no alg of its own.
function makeKeys() {
  const kinds = [
    ['RS256', 'rsa', { modulusLength: 2048 }],
    ['ES256', 'ec', { namedCurve: 'P-256' }],
    [undefined, 'ed25519', {}],
  ];
  return kinds.map(([alg, type, parameters]) => {
    const jwk = generateKeyPairSync(type, parameters).privateKey.export({ format: 'jwk' });
    const kid = createHash('sha256').update(JSON.stringify(jwk)).digest('base64url').slice(0, 12);
    return { ...jwk, use: 'sig', kid, ...(alg && { alg }) };
  });
}

// Sessions, grants and codes, by model and id. Nothing is dropped when it is too old: the provider looks at its `exp`.
const stored = new Map();

class Adapter {
  constructor(model) { this.model = model; }
  key = (id) => `${this.model}:${id}`;
  async upsert(id, payload) { stored.set(this.key(id), payload); }
  async find(id) { return stored.get(this.key(id)); }
  async destroy(id) { stored.delete(this.key(id)); }
  async consume(id) { stored.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async findByUid(uid) { return all('Session').find((session) => session.uid === uid); }
  async revokeByGrantId(grantId) {
    for (const [key, payload] of stored) if (payload.grantId === grantId) stored.delete(key);
  }
}

const all = (model) => [...stored].filter(([key]) => key.startsWith(`${model}:`)).map(([, payload]) => payload);

// A provider reads its keys and clients once: a new one takes its place, over what is stored.
function rebuild() {
  provider = new Provider(issuer, {
    adapter: Adapter,
    clients: [...clients.values()],
    jwks: { keys },
    cookies: { keys: cookieKeys },
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'Ed25519', 'EdDSA'] },
    claims: {
      openid: ['sub'],
      profile: ['name', 'given_name', 'family_name', 'preferred_username', 'groups'],
      email: ['email', 'email_verified'],
    },
    pkce: { required: () => true },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 86400, IdToken: 3600, Interaction: 3600, Session: 86400 },
    fetch: (url, { dispatcher, ...rest }) => globalThis.fetch(url, rest), // its own dispatcher refuses loopback
    findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub, ...settings.people[sub] }) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant, // nobody is asked for consent
    renderError: (ctx, out) => show(ctx.res, 400, `<h1>${escape(out.error)}</h1><p>${escape(out.error_description)}</p>`, ctx),
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: options.require_par },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => show(ctx.res, 200, `<h1>Log out of this session?</h1>${
          form.replace('</form>', '<input type="hidden" name="logout" value="yes"><button>Log out</button></form>')
        }`, ctx),
        postLogoutSuccessSource: (ctx) => show(ctx.res, 200, '<h1>You are logged out</h1>', ctx),
      },
    },
  });
  provider.on('backchannel.error', (ctx, error, client) => {
    failures.push({ client_id: client.clientId, error: String(error.cause ?? error) });
  });
  provider.on('server_error', (ctx, error) => console.error(error));
  handle = provider.callback();
}

async function loadExistingGrant(ctx) {
  const { client, session, provider: ours } = ctx.oidc;
  const known = session.grantIdFor(client.clientId) && await ours.Grant.find(session.grantIdFor(client.clientId));
  const grant = known || new ours.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope(ctx.oidc.params.scope ?? 'openid');
  await grant.save();
  return grant;
}

// -- pages --------------------------------------------------------------------------------------------------

const escape = (text) => String(text ?? '').replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

// `ctx` is Koa's, which writes the answer itself.
function show(res, status, body, ctx) {
  const page = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><title>OpenID provider</title><style>:root { color-scheme: light dark }
body { max-width: 36rem; margin: 2rem auto; padding: 0 1rem; font: 1.1rem/1.5 system-ui, sans-serif }
input, button { font: inherit }</style><body>${body}`;
  if (ctx) {
    Object.assign(ctx, { status, type: 'html', body: page });
  } else {
    res.writeHead(status, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' }).end(page);
  }
}

async function frontPage(req, res) {
  const { accountId } = await provider.Session.get(provider.createContext(req, res));
  show(res, 200, accountId
    ? `<h1>OpenID provider</h1><p>You are ${escape(nameOf(accountId))}.</p>
<form method="post" action="/log-out"><button>Log out everywhere</button></form>`
    : '<h1>OpenID provider</h1><p>Nobody is logged in here.</p>');
}

async function logOut(req, res) {
  if (req.method !== 'POST' || req.headers.origin !== issuer) {
    show(res, 403, '<h1>This form is not of this page</h1>');
    return;
  }
  const { accountId } = await provider.Session.get(provider.createContext(req, res));
  if (accountId) await commands.log_out_everywhere({ sub: accountId });
  res.writeHead(303, { Location: '/' }).end();
}

const nameOf = (sub) => settings.people[sub]?.name ?? sub;

function loginPage({ uid, params }) {
  const who = settings.button
    ? `<input type="hidden" name="login" value="${escape(settings.button)}">
<button>Continue as ${escape(nameOf(settings.button))}</button>`
    : `<input name="login" aria-label="Name" value="${escape(params.login_hint)}"><button>Log in</button>`;
  return `<h1>Log in</h1><p>${escape(params.client_id)} asks who you are.</p>
<form method="post" action="/interaction/${uid}">${who}</form>`;
}

async function interaction(req, res) {
  const details = await provider.interactionDetails(req, res);
  if (details.prompt.name !== 'login') {
    const result = { error: 'access_denied', error_description: `no page for ${details.prompt.name}` };
    await provider.interactionFinished(req, res, result);
  } else if (req.method === 'POST') {
    let form = '';
    for await (const chunk of req) form += chunk;
    const accountId = settings.button ?? new URLSearchParams(form).get('login');
    await provider.interactionFinished(req, res, accountId ? { login: { accountId } } : { error: 'access_denied' });
  } else {
    show(res, 200, loginPage(details));
  }
}

const server = createServer((req, res) => {
  const { pathname } = new URL(req.url, issuer);
  const page = { '/': frontPage, '/log-out': logOut }[pathname] ?? (pathname.startsWith('/interaction/') && interaction);
  if (page) {
    page(req, res).catch((error) => show(res, 400, `<h1>${escape(error.message)}</h1>`));
  } else {
    handle(req, res);
  }
});

// -- commands -----------------------------------------------------------------------------------------------

const commands = {
  // A site: the metadata of OpenID Connect Dynamic Client Registration 1.0, section 2.
  add_client({ metadata }) {
    clients.set(metadata.client_id, metadata);
    rebuild();
  },

  set_options(given) {
    options = { ...options, ...given.options };
    rebuild();
  },

  // New keys at once, and nothing is left of the old ones.
  rotate() {
    keys = makeKeys();
    rebuild();
    return { kids: keys.map(({ kid }) => kid) };
  },

  // Ends every session of a person, as an administrator would, and notifies each session's sites.
  async log_out_everywhere({ sub }) {
    const theirs = all('Session').filter(({ accountId }) => accountId === sub);
    for (const { jti } of theirs) {
      const session = await provider.Session.find(jti);
      await Promise.all(Object.keys(session.authorizations ?? {}).map(async (clientId) => {
        const client = await provider.Client.find(clientId);
        if (!client?.backchannelLogoutUri) return;
        await client.backchannelLogout(sub, session.sidFor(clientId)).catch((error) => {
          failures.push({ client_id: clientId, error: String(error.cause ?? error) });
        });
      }));
      await session.destroy();
    }
    return { sessions: theirs.length };
  },

  failures: () => ({ failures: failures.splice(0) }),
};

async function obey(line) {
  const command = JSON.parse(line);
  try {
    return { ok: true, ...await commands[command.do](command) };
  } catch (error) {
    return { ok: false, error: String(error.error_description ?? error) };
  }
}

rebuild();
const listener = process.env.CLEF_DEMO_LISTENER;
server.listen(
  listener ? { fd: Number(listener) } : { port: settings.port, host: '127.0.0.1' },
  () => console.log('ready'),
);

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await obey(line)));
}
process.exit(0);
