import Foundation

/// Does `body` with every element, as many at a time as there are cores: kernels are compiled and judged
/// in processes of their own, and tests that count in minutes would leave cores idle.
func sideBySide<Element: Sendable>(
  _ elements: [Element], _ body: @Sendable @escaping (Element) async throws -> Void
) async throws {
  try await withThrowingTaskGroup(of: Void.self) { group in
    for (place, element) in elements.enumerated() {
      if place >= ProcessInfo.processInfo.activeProcessorCount { try await group.next() }
      group.addTask { try await body(element) }
    }
    try await group.waitForAll()
  }
}
