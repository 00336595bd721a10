import Dispatch
import Foundation
import Synchronization

/// Ctrl-C and a polite kill: work is cancelled, so that it clears away what it began.
enum Interruption {
  private static let received = Mutex<Int32?>(nil)

  /// Runs the work to its end; after a signal the process exits with 128 and the signal's number.
  static func guarding(_ work: @escaping @Sendable () async -> Void) async {
    let task = Task { await work() }
    let sources = [SIGINT, SIGTERM, SIGHUP].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler {
        received.withLock { $0 = number }
        task.cancel()
        // What computes without a pause does not hear it, and must not hold the user up.
        DispatchQueue.global().asyncAfter(deadline: .now() + 2) { exit(128 + number) }
      }
      source.resume()
      return source
    }
    await task.value
    withExtendedLifetime(sources) {}
    if let number = received.withLock({ $0 }) { exit(128 + number) }
  }
}
