# Beside what `server -dev` sets by itself: the audit log, which newer versions take from here alone. It is
# in `docker compose logs openbao`, with secrets hashed.
audit "file" "stdout" {
  description = "every request and answer"
  options {
    file_path = "stdout"
  }
}
