// What a frontend does to sign in with Google. The page keeps a secret and gives its hash away; the code that comes back in the address is
// worth nothing without the secret.
const page = location.origin + location.pathname
const result = document.getElementById('result')
const base64url = bytes => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')

document.getElementById('begin').addEventListener('click', async () => {
  const secret = base64url(crypto.getRandomValues(new Uint8Array(32)))
  const hash = base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(secret))))
  sessionStorage.setItem('google', secret)
  location.assign('/api/v1/auth/google/redirect?' + new URLSearchParams({ redirect_to: page, code_challenge: hash }))
})

const back = new URLSearchParams(location.search)
if (back.has('code') || back.has('error')) {
  history.replaceState(null, '', page)
  finish(back.get('code'), back.get('error'))
}

async function finish(code, error) {
  const secret = sessionStorage.getItem('google')
  sessionStorage.removeItem('google')
  if (error || !secret) {
    result.textContent = error ?? 'This sign-in was not begun here.'
    return
  }
  const answer = await fetch('/api/v1/auth/google/exchange', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ code, code_verifier: secret }),
  })
  result.textContent = JSON.stringify(await answer.json(), null, 2)
}
