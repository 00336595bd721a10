import Foundation
import Planning
import Recurrences
import Reporting
import Schedules
import Targets
import Testing

#if canImport(FoundationXML)
  import FoundationXML
#endif

/// The page: well-formed XML whatever stands in it, with a picture of every kind.
@Suite("Report page")
struct ReportPageTests {
  static func space(
    plans: [MeasuredPlan], calibration: Calibration? = nil, machine: String = "a machine"
  ) throws -> MeasuredSpace {
    let specification = try KernelSpecification(
      normalForm: Recurrence.named("gla").normalForm(), key: 64, value: 64, type: .f32,
      gateType: .f32, target: .avx512)
    return MeasuredSpace(
      specification: specification, workload: Workload(threads: 2), machine: machine,
      calibration: calibration, legal: 99, plans: plans)
  }

  static func plan(_ schedule: String, chunk: Int, tile: Int) -> Plan {
    Plan(schedule: schedule, chunk: chunk, subBlock: chunk, keyTile: 64, valueTile: tile)
  }

  static let plans = [
    MeasuredPlan(
      plan: plan("register-recurrent", chunk: 8, tile: 64), predicted: 1.1e-3, measured: 1e-3,
      bytes: 1e7, status: .ok),
    MeasuredPlan(
      plan: plan("chunk-fused", chunk: 16, tile: 32), predicted: 2e-3, measured: 2.2e-3,
      bytes: 1.5e7, status: .ok),
    MeasuredPlan(
      plan: plan("segmented", chunk: 16, tile: 64), predicted: 5e-3, measured: 4e-3, bytes: 3e7,
      status: .ok),
    MeasuredPlan(
      plan: plan("chunk-fused", chunk: 64, tile: 64), predicted: 3e-3, status: .crashed,
      note: "<script>alert(\"&\")</script> crashed\u{1}"),
  ]

  /// Parses as XML; the names of all elements in their order.
  private func elements(_ page: String) throws -> [String] {
    final class Reader: NSObject, XMLParserDelegate {
      var names: [String] = []
      func parser(
        _ parser: XMLParser, didStartElement name: String, namespaceURI: String?,
        qualifiedName: String?, attributes: [String: String]
      ) { names.append(name) }
    }
    let parser = XMLParser(data: Data(page.utf8))
    let reader = Reader()
    parser.delegate = reader
    #expect(
      parser.parse(), "\(parser.parserError.map { "\($0)" } ?? ""), line \(parser.lineNumber)")
    return reader.names
  }

  @Test("It is well-formed, and has a mark for every timed plan in both plots")
  func wellFormed() throws {
    let page = ReportPage([try Self.space(plans: Self.plans)]).text
    let names = try elements(page)
    #expect(names.contains("svg") && names.contains("table"))
    #expect(page.components(separatedBy: "measured 1.00 ms").count - 1 == 2)
    #expect(page.contains("prefers-color-scheme: dark"))
    // Axes say what they show, with units.
    for words in ["measured, ms", "predicted, ms", "useful GFLOP/s", "chunk, tokens", "value tile"]
    {
      #expect(page.contains(words), "\(words)")
    }
  }

  @Test("Names are escaped, and nothing is fetched from elsewhere")
  func escaped() throws {
    let page = ReportPage([
      try Self.space(plans: Self.plans, machine: "<img src=\"http://evil\"> & co")
    ]).text
    _ = try elements(page)
    #expect(!page.contains("<script") && !page.contains("<img"))
    #expect(page.contains("&lt;script&gt;alert(&quot;&amp;&quot;)"))
    let links = page.components(separatedBy: "http").dropFirst().map { $0.prefix(15) }
    #expect(links.allSatisfy { $0.hasPrefix("://www.w3.org/") || $0.hasPrefix("://evil") })
  }

  @Test("Little or nothing measured is a page too")
  func degenerate() throws {
    let failed = [Self.plans[3]]
    for spaces in [
      [], [try Self.space(plans: [])], [try Self.space(plans: failed)],
      [try Self.space(plans: [Self.plans[0]])],
      [try Self.space(plans: Self.plans, calibration: .assumed(for: .generic))],
    ] {
      let page = ReportPage(spaces).text
      _ = try elements(page)
      #expect(!page.contains("nan") && !page.contains("inf\""))
    }
  }
}
