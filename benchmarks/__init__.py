"""Speed, measured against other servers: `make benchmark`. Nothing of it is part of the service."""
