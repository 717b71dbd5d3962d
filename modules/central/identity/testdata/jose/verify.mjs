// Verifies access tokens with npm's jose, against the published keys: node verify.mjs <jwks url> <issuer> <audience>, tokens on standard input,
// one a line. Prints a line of JSON for each: the payload, or the error's code.
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { createInterface } from 'node:readline'

const [jwks, issuer, audience] = process.argv.slice(2)
const keys = createRemoteJWKSet(new URL(jwks))
for await (const token of createInterface({ input: process.stdin })) {
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer, audience, typ: 'at+jwt', requiredClaims: ['sub', 'sid', 'iat', 'exp', 'jti'] })
    console.log(JSON.stringify({ payload, header: protectedHeader }))
  } catch (e) {
    console.log(JSON.stringify({ error: e.code ?? String(e) }))
  }
}
