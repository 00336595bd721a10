import Evaluation
import Foundation
import Synchronization
import Tuning

/// What a search shows while it runs, on standard error, and at its end.
final class TuningDisplay: Sendable {
  private let isQuiet: Bool
  private let kept = Mutex(0)

  init(isQuiet: Bool) { self.isQuiet = isQuiet }

  func show(_ step: TuningProgress) {
    let report = step.report
    kept.withLock { $0 = report.records.count }
    guard !isQuiet else { return }
    switch step.step {
    case .began:
      let before =
        report.resumed == 0 ? "" : "; \(report.resumed) on record, the search goes on from there"
      progress("\(report.key.words): \(report.plans) plans\(before)")
      if step.room <= 0 {
        progress("The budget is spent by what is on record; a larger --budget goes on.")
      }
    case .built: progress("  built \(report.built); measuring ...")
    case .measured(let record):
      progress("  \(standing(step))  \(outcome(record))  \(words(record))")
    case .ended: break
    }
  }

  /// What a signal in the middle leaves.
  func tellInterruption() {
    progress(
      "\(kept.withLock { $0 }) candidates are on record; the same command goes on from there.")
  }

  private func standing(_ step: TuningProgress) -> String {
    let report = step.report
    let measured = report.records.count - report.resumed
    var parts = ["built \(report.built)", "measured \(measured)"]
    if let best = report.best?.seconds { parts.append("best \(milliseconds(best)) ms") }
    if let left = step.left {
      parts.append("\(Int(max(0, left / .seconds(1)).rounded())) s left")
    } else {
      parts.append("\(max(0, step.room)) to go")
    }
    return "[" + parts.joined(separator: ", ") + "]"
  }

  private func outcome(_ record: TuningRecord) -> String {
    record.seconds.map { "\(milliseconds($0)) ms" } ?? record.status.rawValue
  }

  /// The table and what comes of it, on standard output.
  func summarize(_ report: TuningReport) {
    let sorted = report.records.sorted {
      ($0.seconds ?? .infinity, $0.kernel) < ($1.seconds ?? .infinity, $1.kernel)
    }
    print(
      table(
        [["PLAN", "PREDICTED ms", "MEASURED ms", "SPREAD", "STATUS"]]
          + sorted.map { record in
            [
              words(record), milliseconds(record.predicted),
              record.seconds.map(milliseconds) ?? "-",
              record.spread.map { "\(rounded($0 * 100, 1))%" } ?? "-",
              record.status.rawValue + (record.detail.isEmpty ? "" : ": \(record.detail)"),
            ]
          }))
    guard let best = report.best else { return }
    print("\nchosen, of \(report.records.count) measured and \(report.plans) legal plans:")
    let taker = best.key.entry == nil ? "sluice build" : "sluice build --backward"
    print("\(best.plan)\n\(milliseconds(best.seconds ?? 0)) ms; '\(taker)' now takes it")
  }

  /// The plan as the kernel's name has it: everything behind the target.
  private func words(_ record: TuningRecord) -> String {
    guard let range = record.kernel.range(of: "_\(record.key.target)_") else {
      return record.kernel
    }
    return String(record.kernel[range.upperBound...])
  }

  private func milliseconds(_ seconds: Double) -> String { rounded(seconds * 1e3, 3) }
}
