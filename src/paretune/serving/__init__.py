"""A measured run as a server: any trade-off, request by request, over the OpenAI protocol."""
