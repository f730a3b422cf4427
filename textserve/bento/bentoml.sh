#!/bin/sh
# Stands in for BentoML's command in the image. Its entry point makes `bentoml serve BENTO` of `docker run IMAGE serve`,
# as SageMaker starts an image: that serves in one process, as the image does without arguments, on SageMaker's port.
if [ "$*" = "serve ${BENTO_PATH:-}" ]; then
    export PORT="${PORT:-${AIP_HTTP_PORT:-8080}}"
    exec /app/.venv/bin/python -m textserve.bento.start
fi
exec /app/.venv/bin/python -m bentoml "$@"
