/* Sets theme and palette before the first paint; a classic script in the head for that reason. */
(function () {
  const kept = (name, fallback) => {
    try {
      return localStorage.getItem(`lens.${name}`) || fallback;
    } catch {
      return fallback;
    }
  };
  const root = document.documentElement;
  root.dataset.theme = kept("theme", "auto");
  root.dataset.palette = kept("palette", "green");
  root.dataset.zone = kept("zone", "utc");
})();
