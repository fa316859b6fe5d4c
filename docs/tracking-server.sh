#!/usr/bin/env bash
# An MLflow server that knows its users: docs/tracking-server.sh FOLDER [STORE] [mlflow server's options]; see tracking-server.md.
# FOLDER takes its secrets, the artifacts and, unless STORE names a database (postgresql://USER@HOST/NAME), a sqlite file.
set -euo pipefail
umask 077
mkdir -p "${1:?a folder for secrets and artifacts}"
folder=$(cd "$1" && pwd)
shift
store=sqlite:///$folder/mlflow.db users=sqlite:///$folder/users.db
if [[ ${1:-} != -* && ${1:-} == *://* ]]; then
  store=${1/#postgresql:/postgresql+psycopg2:}  # the driver that MLflow asks for, and not SQLAlchemy's new one
  users=$store
  shift
fi

random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
if [[ ! -e $folder/secrets ]]; then
  printf 'MLFLOW_AUTH_ADMIN_PASSWORD=%s\nMLFLOW_FLASK_SERVER_SECRET_KEY=%s\n' "$(random)" "$(random)" > "$folder/secrets"
  echo "the password of the user admin is in $folder/secrets" >&2
fi
set -a
. "$folder/secrets"
# Not as an option, which `ps` would show.
MLFLOW_BACKEND_STORE_URI=$store MLFLOW_AUTH_CONFIG_PATH=$folder/users.ini
MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false  # takes 1.3 GB, for what isn't used here
set +a
cat > "$folder/users.ini" << EOF
[mlflow]
default_permission = EDIT
database_uri = ${users//%/%%}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
EOF
PATH=$(dirname "$0")/../.venv/bin:$PATH
exec mlflow server --app-name basic-auth --artifacts-destination "$folder/artifacts" "$@"
