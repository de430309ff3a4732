/**
 * What a Content-Security-Policy has blocked in this thread, for messages: a blocked request or worker fails without a
 * reason, and the reason comes as an event.
 *
 * @module
 */

const blocked: Array<{ directive: string; url: string }> = [];
let watching = false;

/** Begins to listen; events before are lost. */
export function watchPolicy(): void {
  if (watching) return;
  watching = true;
  const scope = globalThis as Partial<Pick<typeof globalThis, 'addEventListener'>>;
  scope.addEventListener?.('securitypolicyviolation', (event) => {
    const { blockedURI, effectiveDirective } = event as SecurityPolicyViolationEvent;
    blocked.push({ directive: effectiveDirective, url: blockedURI });
  });
}

/** Whether an address, or any, was blocked by one of these directives. The event comes a moment after the failure. */
export function isBlocked(directives: string[], url?: string): boolean {
  const isAsked = (found: string): boolean =>
    url === undefined || found === new URL(url).origin || withoutQuery(found) === withoutQuery(url);
  return blocked.some((entry) => directives.includes(entry.directive) && isAsked(entry.url));
}

function withoutQuery(url: string): string {
  return url.replace(/[?#].*$/s, '');
}
