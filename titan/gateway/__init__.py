"""The gateway: marts over HTTP, for programs and pages. It reads, as the reader's role, and writes nothing."""
