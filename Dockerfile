# One image for CPU and CUDA: the Linux packages of torch bring their CUDA libraries.
# Untested: no container could be built where this was written.
#
#   docker build -t fl-unlearning .
#   docker run --rm -it -v "$PWD/runs:/repro/runs" fl-unlearning                       # the profile quick
#   docker run --rm -it --gpus all -v "$PWD/runs:/repro/runs" fl-unlearning ./run_all.sh --profile reduced
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*

RUN python -m venv /opt/venv
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH

WORKDIR /repro
COPY . .
RUN pip install --no-cache-dir -e .

CMD ["./run_all.sh"]
