#!/bin/sh
# Stands in for BentoML's command in the image. SageMaker starts an image with `docker run IMAGE serve`, which BentoML's
# entry point turns into `bentoml serve BENTO`. This then serves in one process, as by default, on SageMaker's port.
if [ "$*" = "serve ${BENTO_PATH:-}" ]; then
    export PORT="${PORT:-${AIP_HTTP_PORT:-8080}}"
    exec /app/.venv/bin/python -m textserve.bento.start
fi
exec /app/.venv/bin/python -m bentoml "$@"
