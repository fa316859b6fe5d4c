# The image of every Ray node: Ray's own at the pinned version, our pins, the project. Not run as root.
# docker build --build-arg COMMIT=$(git describe --always --dirty --abbrev=12 --exclude '*') -t REGISTRY/rein:2.60.0 .
FROM rayproject/ray:2.60.0-py311-gpu

# the base image's user ray, by number: Kubernetes can tell that it is not root
USER 1000:100
WORKDIR /home/ray/rein
# `--no-deps`, as in the Makefile: constraints.txt lists the whole closure. Before the code, so that a change of code
# builds in seconds.
COPY --chown=1000:100 constraints.txt ./
RUN pip install --no-cache-dir --no-deps -r constraints.txt

COPY --chown=1000:100 benchmarks benchmarks/
COPY --chown=1000:100 datasets datasets/
COPY --chown=1000:100 pipelines pipelines/
COPY --chown=1000:100 rein_core rein_core/
COPY --chown=1000:100 tuning tuning/
COPY --chown=1000:100 LICENSE pyproject.toml ./
# drivers and Ray's workers start in folders of their own
ENV PYTHONPATH=/home/ray/rein
RUN python -m pipelines train --help > /dev/null

ARG COMMIT=unknown
# beside the code, so that it doesn't speak for what a job with --working-dir brings along
RUN echo "${COMMIT}" > COMMIT
LABEL org.opencontainers.image.title="rein" org.opencontainers.image.revision="${COMMIT}"
