"""The loader: sources produce batches, one landing path takes them, one promotion makes them current."""
