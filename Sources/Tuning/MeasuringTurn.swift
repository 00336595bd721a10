import Glibc

/// Tuners that share a kernel cache take turns, so that none builds or measures while another's clock runs.
///
/// The turn is an advisory lock on a file of the cache's folder: it ends with the process, however
/// that ends. Where there can be no such file, nobody waits.
package struct MeasuringTurn: Sendable {
  private let path: String

  package init(in folder: String) { path = "\(folder)/measuring.lock" }

  /// Does the work in a turn of its own.
  ///
  /// - Returns: what the work gives, and how long it had to wait for its turn.
  package func take<T: Sendable>(
    _ work: () async throws -> T
  ) async throws -> (result: T, waited: Duration) {
    let clock = ContinuousClock()
    let start = clock.now
    let file = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0o644)
    defer { if file >= 0 { close(file) } }
    while file >= 0, flock(file, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
      try await Task.sleep(for: .milliseconds(20))
    }
    let waited = start.duration(to: clock.now)
    return (try await work(), waited)
  }
}
