import Emission
import Evaluation
import Execution
import Foundation
import Schedules
import Targets

/// What a bundle's `measure` printed, checked: every run is sealed by the machine that made it.
public struct BundleResults: Sendable {
  /// The processor that measured.
  public var machine: String
  /// One for each candidate.
  public var records: [TuningRecord]

  /// Reads results and holds them to the bundle.
  ///
  /// - Throws: `.badInput` for results that are cut short, altered, or of another search.
  public init(_ path: String, of bundle: TuningBundle) throws(SluiceError) {
    let text = try RecordStore.inSentences(path) {
      String(decoding: try Files.read(path), as: UTF8.self)
    }
    let runs = try Self.runs(text, path, bundle)
    func refuse(_ why: String) -> SluiceError { SluiceError(.badInput, "\(path): \(why)") }
    let machines = Set(runs.map(\.machine))
    guard let machine = machines.first, machines.count == 1, !machine.isEmpty else {
      throw refuse("the runs are of several machines. Measure all of them on one.")
    }
    self.machine = machine
    var key = bundle.key
    key.machine = machine
    records = []
    let byName = Dictionary(grouping: runs, by: \.candidate)
    for candidate in bundle.candidates {
      let own = (byName[candidate.kernel] ?? []).sorted { $0.round < $1.round }
      let isWhole =
        own.map(\.round) == Array(0..<own.count)
        && own.dropLast().allSatisfy { $0.status == .ok }
        && (own.count == bundle.rounds || own.last.map { $0.status != .ok } ?? false)
      guard isWhole, let name = KernelName(candidate.kernel) else {
        throw refuse("not every round of \(candidate.kernel) is there. Let measure run to its end.")
      }
      records.append(
        TuningRecord(
          key: key, workload: bundle.workload, kernel: name, predicted: candidate.predicted,
          compiler: bundle.compiler, runs: own))
    }
    if let problem = records.compactMap(\.problem).first {
      throw refuse("of a record, \(problem).")
    }
  }

  /// As a search's report.
  public func report(of bundle: TuningBundle) -> TuningReport {
    var key = bundle.key
    key.machine = machine
    return TuningReport(
      key: key, workload: bundle.workload, plans: bundle.candidates.count, records: records)
  }

  /// The runs, one a line, each with its seal.
  private static func runs(
    _ text: String, _ path: String, _ bundle: TuningBundle
  ) throws(SluiceError) -> [CandidateRun] {
    func refuse(_ why: String) -> SluiceError { SluiceError(.badInput, "\(path): \(why)") }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init)
    guard let head = lines.first, head.hasPrefix("{\"format\":\"\(TuningBundle.resultsFormat)\"")
    else { throw refuse("these are no results of a bundle's measure.") }
    guard head.contains("\"search\":\"\(bundle.search)\"") else {
      throw refuse("these results are of another search than the bundle.")
    }
    guard lines.count > 2, lines.last == "]}" else {
      throw refuse("the results are cut short. Let measure run to its end.")
    }
    var runs: [CandidateRun] = []
    for (index, line) in lines[1..<lines.count - 1].enumerated() {
      let isLast = index == lines.count - 3
      guard isLast != line.hasSuffix(",") else { throw refuse("run \(index + 1) is damaged.") }
      runs.append(
        try run(isLast ? line : String(line.dropLast()), bundle) { why in
          refuse("run \(index + 1) \(why).")
        })
    }
    return runs
  }

  private static func run(
    _ line: String, _ bundle: TuningBundle, _ refuse: (String) -> SluiceError
  ) throws(SluiceError) -> CandidateRun {
    guard let run = try? JSONDecoder().decode(CandidateRun.self, from: Data(line.utf8)),
      let end = line.range(of: ",\"seal\":\""), let seal = run.seal
    else { throw refuse("is damaged") }
    guard seal == ContentDigest.sha256(String(line[..<end.lowerBound])),
      line == "\(line[..<end.lowerBound]),\"seal\":\"\(seal)\"}"
    else { throw refuse("was altered after it was made") }
    guard run.search == bundle.search else { throw refuse("is of another search") }
    guard let candidate = bundle.candidates.first(where: { $0.kernel == run.candidate }) else {
      throw refuse("is of a candidate that the bundle has not")
    }
    guard run.library == candidate.library, run.cases == bundle.cases else {
      throw refuse("is of other files than the bundle's")
    }
    guard (0..<bundle.rounds).contains(run.round) else { throw refuse("is of an unknown round") }
    if run.status == .ok {
      guard run.nanoseconds.count >= 3,
        run.nanoseconds.allSatisfy({ (1...10_000_000_000_000).contains($0) })
      else { throw refuse("has times that no call takes") }
      guard (0...1).contains(run.whole), (0...1).contains(run.worst) else {
        throw refuse("has errors beyond the bound and calls itself right")
      }
    }
    return run
  }
}
