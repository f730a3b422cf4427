#!/bin/sh
# Stands in for `uv` while the container image is built: downloads uv, runs it, and deletes it again, with everything
# from the base image and the installed packages that serving does not need.
#
# Every instruction of a Dockerfile is a layer, and deleting a file in a later layer does not make the image smaller. So
# the instruction that creates a file must delete it, and those of BentoML's generated Dockerfile only call `uv`.
set -eu
SERVICE=/home/bentoml/bento/src

# TMPDIR of the image is /dev/shm, too small for the downloads.
export TMPDIR=/tmp
pip install --quiet --root-user-action=ignore --no-cache-dir --target /tmp/uv --require-hashes -r /usr/local/share/uv.txt
# BentoML's requirements have no hashes. Those of uv.lock apply as constraints; a package without a hash is an error.
export UV_REQUIRE_HASHES=1 UV_CONSTRAINT="$SERVICE/build/hashes.txt"
UV_NO_CACHE=1 UV_COMPILE_BYTECODE=0 /tmp/uv/bin/uv "$@"
rm -rf /tmp/uv

# BentoML calls uv twice: to create the environment, and to install into it.
case "$*" in *"pip install"*) ;; *) exit ;; esac

cd /app/.venv/lib/python3.*/site-packages
# libonnxruntime.so is for C programs; Python's bindings contain a copy. huggingface_hub downloads models, with hf_xet
# and filelock. Pygments highlights hundreds of languages. The system has time zones; numpy's _simd is for its tests.
rm -rf \
    filelock* \
    hf_xet* \
    huggingface_hub* \
    onnxruntime/capi/libonnxruntime.so* \
    onnxruntime/quantization \
    onnxruntime/tools \
    onnxruntime/transformers \
    pygments/lexers/[a-z]* \
    numpy/_core/_simd.*.so \
    numpy/_core/include \
    numpy/_core/lib \
    numpy/f2py \
    tzdata*
find . -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} +
find . -type f \( -name '*.c' -o -name '*.h' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.pyx' -o -name '_*_tests.*.so' \) \
    -delete

mv /usr/local/share/bentoml.sh /app/.venv/bin/bentoml
chmod +x /app/.venv/bin/bentoml

cd "$SERVICE"
/app/.venv/bin/python -m textserve.bento.symbols /app/.venv
/app/.venv/bin/python -m textserve.bento.bytecode

# From the base image: package installers with their caches, Perl, and the parts of Python for development.
for library in /usr/lib/python3.* /usr/local/lib/python3.*; do
    rm -rf "$library/ensurepip" "$library/idlelib" "$library/lib2to3" "$library/pydoc_data" "$library/test" \
        "$library/turtledemo"
done
rm -rf \
    /usr/bin/perl* \
    /usr/lib/*-linux-gnu/libperl* \
    /usr/lib/python3/dist-packages/* \
    /usr/local/lib/python3.*/site-packages/* \
    /usr/share/info \
    /usr/share/python-wheels \
    /usr/share/perl \
    /usr/share/perl5 \
    /usr/lib/*-linux-gnu/perl \
    /usr/local/bin/uv \
    /usr/local/share/uv.txt \
    /usr/local/bin/pip* \
    /usr/bin/pip* \
    /var/cache/*
